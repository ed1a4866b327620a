"""Every kind of record as an event of OCSF, judged by OCSF's own schema."""

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.export.classes import CLASSES, VERSION
from gateway.export.fitting import fit
from gateway.export.ocsf import Event, event
from gateway.export.shapes import SHAPES
from gateway.model.record import RecordKind
from tests.unit.audit import world
from tests.unit.export import journal

SCHEMA = Path(__file__).parents[2] / "vectors" / "ocsf" / f"schema-{VERSION}.json"


@cache
def validator(class_uid: int) -> Draft202012Validator:
    found = json.loads(SCHEMA.read_text())
    return Draft202012Validator(found["classes"][str(class_uid)] | {"$defs": found["$defs"]})


def faults(body: dict[str, Any]) -> list[str]:
    return [f"{list(e.path)}: {e.message[:200]}" for e in validator(body["class_uid"]).iter_errors(body)]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("all") / "journal"
    asyncio.run(journal.write(folder, world.Clock()))
    return [event(index, data, world.ORIGIN) for index, data in journal.written(folder)]


def test_the_journal_has_every_kind(events: list[Event]) -> None:
    assert {each.kind for each in events} == set(RecordKind) == set(SHAPES)


def test_every_event_is_one_of_ocsf(events: list[Event]) -> None:
    wrong = {
        (each.kind, each.body["class_name"]): f
        for each in events
        if (f := faults(json.loads(fit(each).data)))
    }
    assert not wrong, "\n".join(f"{kind}: {found}" for kind, found in wrong.items())


def test_the_schema_would_say_so(events: list[Event]) -> None:
    body = json.loads(fit(events[0]).data)
    assert faults(body | {"severity_id": 77})
    assert faults(body | {"not_a_member": 1})
    assert faults({name: value for name, value in body.items() if name != "metadata"})


def test_the_schema_is_of_the_version_and_has_every_class() -> None:
    found = json.loads(SCHEMA.read_text())
    assert found["version"] == VERSION
    assert set(found["classes"]) == {str(uid) for uid in CLASSES}


@pytest.mark.parametrize("most", [2048, 4096, 8192])
def test_a_cut_event_is_still_one_of_ocsf(events: list[Event], most: int) -> None:
    for each in events:
        fitted = fit(each, most)
        assert len(fitted.data) <= most
        body = json.loads(fitted.data)
        assert not faults(body), each.kind
        assert body["metadata"]["uid"] == each.uid
        assert body["metadata"].get("is_truncated", False) == (fitted.size > most)


def find(events: list[Event], kind: RecordKind, **where: Any) -> dict[str, Any]:
    return next(e.body for e in events if e.kind == kind and where.items() <= e.body.items())


def test_a_write_says_who_what_why(events: list[Event]) -> None:
    body = find(events, RecordKind.INTENT, class_uid=6003)
    assert body["type_uid"] == 600303
    assert (body["action"], body["disposition"], body["status"]) == ("Allowed", "Allowed", "Pending")
    assert body["actor"]["user"]["uid"] == "spiffe://plant.example/hmi-3"
    assert body["src_endpoint"] == {"ip": "10.0.0.7", "zone": "plant"}
    assert body["api"]["operation"] == "modbus.write_multiple_registers"
    assert [each["name"] for each in body["resources"]] == ["plc-1", "plc-1.level_sp"]
    assert body["policy"]["uid"] == "r" * 64
    assert body["firewall_rule"] == {"uid": "hmi", "name": "hmi", "type": "grant"}
    ot = body["unmapped"]["ot"]
    assert (ot["unit"], ot["fc"], ot["table"], ot["raw"]) == (1, 16, "holding", (425,)) or ot["raw"] == [425]
    assert ot["points"][0]["value"] == 42.5
    assert ot["points"][0]["value_prev"] == 40.0
    assert ot["points"][0]["unit"] == "%"
    assert body["unmapped"]["dmz"]["approval"]["by"] == ["spiffe://p/anna"]


def test_intent_and_outcome_are_joined_by_one_id(events: list[Event]) -> None:
    intent = find(events, RecordKind.INTENT)
    outcome = next(
        e.body
        for e in events
        if e.kind == RecordKind.OUTCOME
        and e.body["metadata"]["correlation_uid"] == intent["metadata"]["correlation_uid"]
    )
    assert outcome["status"] == "Success"
    assert outcome["api"]["response"] == {"message": "ok"}


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (RecordKind.DENIAL, {"action_id": 2, "disposition_id": 2, "activity_id": 3}),
        (RecordKind.DENIAL, {"action_id": 3, "disposition_id": 17}),
        (RecordKind.WINDOW, {"action_id": 1, "activity_id": 2, "class_uid": 6003}),
        (RecordKind.WINDOW, {"action_id": 3}),
        (RecordKind.INTENT, {"class_uid": 2004, "severity_id": 4}),
        (RecordKind.OUTCOME, {"status_id": 2}),
        (RecordKind.OUTCOME, {"status_id": 0}),
        (RecordKind.OUTCOME, {"activity_name": "Read back", "severity_id": 4}),
        (RecordKind.AUTH, {"class_uid": 3002, "activity_id": 1, "status_id": 1}),
        (RecordKind.AUTH, {"class_uid": 3002, "status_id": 2, "action_id": 2}),
        (RecordKind.AUTH, {"class_uid": 3002, "activity_id": 2}),
        (RecordKind.FINDING, {"class_uid": 2004, "severity_id": 3}),
        (RecordKind.FINDING, {"class_uid": 2004, "severity_id": 4}),
        (RecordKind.POLICY, {"class_uid": 5019, "status_id": 2}),
        (RecordKind.CONFIG, {"class_uid": 5019, "status_id": 1}),
        (RecordKind.ADMIN, {"class_uid": 2004, "activity_id": 3}),
        (RecordKind.ADMIN, {"class_uid": 6003, "activity_id": 1}),
        (RecordKind.LIFECYCLE, {"class_uid": 6002, "activity_id": 3}),
        (RecordKind.LIFECYCLE, {"class_uid": 6002, "activity_id": 4}),
        (RecordKind.LIFECYCLE, {"class_uid": 2004}),
        (RecordKind.LIFECYCLE, {"class_uid": 1008, "activity_id": 2}),
        (RecordKind.GAP, {"class_uid": 1008, "severity_id": 5}),
        (RecordKind.SUPPRESSED, {"class_uid": 6003, "action_id": 2, "count": 5}),
        (RecordKind.SUPPRESSED, {"class_uid": 3002, "count": 3}),
        (RecordKind.SUPPRESSED, {"class_uid": 2004, "count": 3}),
        (RecordKind.WITHHELD, {"class_uid": 6003, "action_id": 2}),
    ],
)
def test_what_a_record_becomes(events: list[Event], kind: RecordKind, where: dict[str, Any]) -> None:
    find(events, kind, **where)


def test_an_event_sent_twice_is_the_same_twice() -> None:
    data = b'{"schema":"dmz.record/1","id":"A","kind":"gap","wall_ns":1795400000000000000,"gateway":"gw-1"}'
    assert event(7, data, "o").body == event(7, data, "o").body
    assert event(7, data, "o").uid == "o#7"


def test_a_kind_of_tomorrow_is_an_event_of_the_log() -> None:
    data = b'{"schema":"dmz.record/1","id":"A","kind":"retained","wall_ns":1795400000000000000,"gateway":"g"}'
    found = event(0, data, "o")
    assert found.body["class_uid"] == 1008
    assert not faults(json.loads(fit(found).data))


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHVz\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHVz",
        "Authorization: Bearer c2VjcmV0LXRva2Vu",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_secret_stays_here(secret: str) -> None:
    record = {
        "schema": "dmz.record/1",
        "id": "A",
        "kind": "finding",
        "wall_ns": world.WALL,
        "gateway": "gw-1",
        "note": {"finding": f"odd {secret} text", "more": [secret], "api_password": "hunter2"},
    }
    told = fit(event(0, json.dumps(record).encode(), "o")).data.decode()
    assert "MC4CAQ" not in told
    assert "c2Vj" not in told
    assert "c2ln" not in told
    assert "hunter2" not in told
    assert "odd (hidden)" in told or "odd Authorization: (hidden)" in told


def test_what_people_signed_stays_in_the_journal(events: list[Event]) -> None:
    body = next(
        e.body for e in events if e.kind == RecordKind.ADMIN and "approval_used" in e.body["api"]["operation"]
    )
    assert "statement_1" not in json.dumps(body)
    assert body["unmapped"]["dmz"]["note"]["by"] == ["spiffe://p/anna"]


def made(kind: RecordKind, **parts: Any) -> dict[str, Any]:
    """The event of a record with these parts, judged."""
    record = {"schema": "dmz.record/1", "id": "A", "kind": kind, "wall_ns": world.WALL, "gateway": "g"}
    body: dict[str, Any] = json.loads(fit(event(0, json.dumps(record | parts).encode(), "o")).data)
    assert not faults(body)
    return body


def test_what_people_signed_is_not_told_of_the_act_either() -> None:
    """The outcome of an approval keeps the statement whole (`admin/approval_routes`)."""
    signed = {"statement": '{"approver":"a"}', "signature": "c2lnbmVk", "certificate": "MIIB"}
    result = {"status": "ok", "request": "R", "decision": "grant", **signed}
    body = made(RecordKind.OUTCOME, about="B", result=result)
    assert body["unmapped"]["dmz"]["result"] == {"status": "ok", "request": "R", "decision": "grant"}
    assert "c2lnbmVk" not in json.dumps(body)


def test_who_ends_broken_glass_has_not_broken_it() -> None:
    def act(kind: str) -> dict[str, Any]:
        return made(RecordKind.INTENT, what={"action": "admin", "kind": kind}, why={"decision": "allow"})

    assert act("admin.break_glass")["type_uid"] == 200401
    ended = act("admin.end_break_glass")
    assert (ended["type_uid"], ended["status"]) == (200403, "Resolved")


@pytest.mark.parametrize(
    ("matches", "status", "severity"),
    [(True, "Success", "Informational"), (False, "Failure", "High"), (None, "Unknown", "Medium")],
)
def test_what_could_not_be_read_back_is_unknown(matches: bool | None, status: str, severity: str) -> None:
    body = made(RecordKind.OUTCOME, about="B", result={"status": "ok", "readback": {"matches": matches}})
    assert (body["status"], body["severity"]) == (status, severity)


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ([(3, 0)], "Success"),
        ([(0, 3), (0, 2)], "Failure"),
        ([(0, 3), (2, 0)], "Partial"),
        ([(0, 0)], "Unknown"),
    ],
)
def test_a_window_in_which_nothing_was_answered_was_no_success(
    counts: list[tuple[int, int]], status: str
) -> None:
    entries = [{"action": "read", "asked": 3, "answered": a, "failed": f} for a, f in counts]
    body = made(RecordKind.WINDOW, what={"action": "read", "entries": entries}, why={"decision": "allow"})
    assert body["status"] == status


@pytest.mark.parametrize(
    ("result", "status"), [("opa_away", "Failure"), ("opa_back", "Success"), ("activated", "Success")]
)
def test_an_engine_that_is_away_is_no_success(result: str, status: str) -> None:
    assert made(RecordKind.POLICY, note={"result": result})["status"] == status


@pytest.mark.parametrize(
    "note",
    [
        {"why": "authorization: bearer c2VjcmV0LXRva2Vu"},
        {"why": "cannot open https://anna:c2VjcmV0@siem.example:6514/x"},
        {"why": "mqtt: password=c2VjcmV0 refused"},
        {"access_token": "c2VjcmV0"},
        {"Authorization": "c2VjcmV0"},
        {
            "apiKey": "c2VjcmV0",
            "x-api-key": "c2VjcmV0",
            "clientSecret": "c2VjcmV0",
            "passwords": ["c2VjcmV0"],
        },
    ],
)
def test_other_forms_of_secrets_stay_here_too(note: dict[str, Any]) -> None:
    body = made(RecordKind.CONFIG, note={"what": "x", **note})
    assert "c2VjcmV0" not in json.dumps(body)
    assert "(hidden)" in json.dumps(body)


@pytest.mark.parametrize(
    "text",
    [
        "password authentication failed",
        "spiffe://plant.example/hmi-3",
        "the token has expired",
        "mail anna@plant.example",
    ],
)
def test_what_only_speaks_of_secrets_is_told(text: str) -> None:
    assert made(RecordKind.CONFIG, note={"what": "x", "why": text})["unmapped"]["dmz"]["note"]["why"] == text


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"{", b"[]", b'{"kind":"intent"}', b'{"kind":1,"wall_ns":"x"}']
)
def test_a_record_that_makes_no_sense_is_told_and_stops_nothing(data: bytes) -> None:
    found = event(3, data, "o")
    assert (found.uid, found.body["activity_name"]) == ("o#3", "Not readable")
    assert not faults(json.loads(fit(found).data))


@pytest.mark.parametrize("part", ["who", "what", "why", "result", "note"])
@pytest.mark.parametrize(
    "odd",
    [
        [],
        "text",
        {"sha256": "00", "length": 5000},
        {"points": [None, "a"], "entries": ["b"], "also": {"sha256": "0"}},
    ],
)
def test_parts_of_a_form_that_nobody_expects_do_not_stop_the_export(
    events: list[Event], part: str, odd: object
) -> None:
    for each in events:
        record = {
            "schema": "dmz.record/1",
            "id": "A",
            "kind": each.kind,
            "wall_ns": world.WALL,
            "gateway": "g",
        }
        found = event(0, json.dumps(record | {part: odd}).encode(), "o")
        assert not faults(json.loads(fit(found).data)), each.kind
        assert found.kind == each.kind, "it is still told for what it is"
