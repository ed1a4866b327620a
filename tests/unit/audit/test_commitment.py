"""Commitments hide and bind, the table names members that are there, and without groups nothing changes."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import entry, framing, vault, verify
from gateway.audit.commitment import MARK, Opened, Sealed, Sealer, commit
from gateway.audit.openings import Openings
from gateway.audit.places import IN_QUESTION, PLACES, QUESTIONS
from gateway.audit.reader import records
from gateway.audit.vault import FOLDER
from gateway.model.decision import Approval
from gateway.model.operation import Action, AdminTarget, OpcuaTarget, Operation, Protocol
from gateway.model.record import MOST_BYTES, RecordKind
from gateway.model.sensitive import Sensitive
from gateway.model.ulid import Ulids
from gateway.policy.facts import Facts
from gateway.policy.question import document, encode
from tests.unit.audit import sealing, world
from tests.unit.audit.sealing import ADDRESS, NOTE, PERSON, SECRETS, USER, Q, person, sealer, writing

Told = dict[str, Any]
FACTS = Facts(mode="run", freeze=False, windows=(), crl="fresh", clock="trusted", trusted=True)
APPROVED = msgspec.structs.replace(
    world.ALLOW, question=b"", origin=world.READ_OK.origin, approval=Approval(id="R", by=(PERSON,))
)
NODE = Operation(
    protocol=Protocol.OPCUA,
    action=Action.CALL,
    kind="opcua.call",
    asset="plc-1",
    asset_kind="plc",
    opcua=OpcuaTarget(service="Call", node="ns=1;s=x", value=Q, arguments=(Q, "recipe-9")),
)
ACT = Operation(
    protocol=Protocol.HTTPS,
    action=Action.ADMIN,
    kind="admin.break_glass",
    admin=AdminTarget(subject=PERSON, scope="asset:plc-1", value=NOTE),
)


def describe(caller: Any, operation: Operation, now: Any, ulid: str) -> bytes:
    return encode(document(caller, operation, FACTS, ulid, now, 1, APPROVED.approval))


def writer(by: Sealer | None) -> entry.Writer:
    return entry.Writer("gw-1", Ulids(1), describe, world.units, by)


def intent(by: Sealer | None, operation: Operation | None = None) -> bytes:
    operations = (operation or writing(), NODE, ACT)
    return writer(by).intent(person(), operations, (APPROVED,) * 3, world.Clock()())[1]


def outcome(by: Sealer | None) -> bytes:
    again = {"matches": False, "points": [{"tag": "t", "q_written": Q, "q_read": 1}], "why": None}
    result = {"status": "ok", "readback": again, "said": NOTE}
    who = {"subject": PERSON, "source": ADDRESS}
    return writer(by).record(RecordKind.OUTCOME, world.Clock()(), who=who, result=result, about="I")[1]


def test_nothing_sensitive_is_in_a_leaf_and_all_of_it_in_its_opening() -> None:
    for plain, sealed in ((intent(None), intent(sealer())), (outcome(None), outcome(sealer()))):
        assert isinstance(sealed, Sealed)
        assert not isinstance(plain, Sealed)
        found = [each for each in SECRETS if each in plain.decode()]
        assert PERSON in found
        assert not [each for each in found if each in sealed.decode()]
        assert Opened(json.loads(sealed), sealed.opening).record == json.loads(plain)
        assert "0badcafe" not in sealed.decode(), "a certificate says who"


def test_equal_values_are_not_seen_to_be_equal() -> None:
    first, again = (json.loads(intent(sealer(seed=seed))) for seed in (1, 2))
    assert first["who"]["committed"]["sha256"] != again["who"]["committed"]["sha256"]
    every = _promises(first)
    assert len(set(every)) == len(every) > 10


def _promises(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["committed"]["sha256"]] if "committed" in value else []
        return own + [each for inner in value.values() for each in _promises(inner)]
    return [each for inner in value for each in _promises(inner)] if isinstance(value, list) else []


def test_a_commitment_binds_salt_length_and_value() -> None:
    base = commit(bytes(32), b'{"q":1}')
    others = [
        commit(b"\1" + bytes(31), b'{"q":1}'),
        commit(bytes(32), b'{"q":2}'),
        commit(bytes(32), b'{"q":1} '),
    ]
    assert len({base, *others}) == 4
    # Salt and value cannot be shifted against each other: the salt has 32 bytes, the value its length.
    assert commit(bytes(32), b"\0x") != commit(bytes(33), b"x")


@pytest.mark.parametrize("at", range(0, 4000, 97))
def test_every_changed_opening_is_wrong(at: int) -> None:
    sealed = intent(sealer())
    assert isinstance(sealed, Sealed)
    opening = bytearray(sealed.opening)
    at %= len(opening)
    opening[at] ^= 1
    found = Opened(json.loads(sealed), bytes(opening))
    assert found.wrong


@settings(max_examples=40, deadline=None)
@given(
    of=st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ),
    opening=st.binary(max_size=80) | st.just(b'[["00","{}"]]') | st.just(b'[["zz",1]]'),
)
def test_what_somebody_made_of_them_is_told_and_never_raises(of: Any, opening: bytes) -> None:
    record = {"who": {"committed": {"of": of, "sha256": of}}, "note": {"committed": of}}
    told = Opened(json.loads(json.dumps(record)), opening)
    assert told.left or not isinstance(of, dict)
    told.told()
    raw = json.dumps(record).encode()
    assert verify._opened(raw, opening) is None
    list(vault.rows(opening * 40))
    assert isinstance(Openings(Path("nowhere")).opened(0, raw), bytes)
    assert Openings(Path("nowhere")).opened(0, b'{"committed":{' + raw) == b'{"committed":{' + raw


def test_an_opening_that_is_cut_or_of_another_record_is_wrong() -> None:
    sealed, other = intent(sealer()), intent(sealer(seed=9))
    assert isinstance(sealed, Sealed)
    assert isinstance(other, Sealed)
    less = json.loads(sealed.opening)[1:]
    assert Opened(json.loads(sealed), other.opening).wrong
    assert Opened(json.loads(sealed), b"[]").left
    assert Opened(json.loads(sealed), json.dumps(less).encode()).left
    assert not Opened(json.loads(sealed), None).wrong, "dropped is not wrong"


@pytest.mark.parametrize(
    ("groups", "hidden", "shown"),
    [
        (("people",), (PERSON, USER, NOTE), (ADDRESS, str(Q))),
        (("subjects",), (PERSON, USER, NOTE), (ADDRESS, str(Q))),
        (("addresses",), (ADDRESS, NOTE), (USER, str(Q))),
        (("values",), (str(Q), "765432.1", "recipe-9", NOTE), (USER, ADDRESS)),
        (("texts",), (NOTE, "operators may"), (USER, ADDRESS, str(Q))),
    ],
)
def test_a_group_hides_its_own(
    groups: tuple[str, ...], hidden: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    leaf = intent(sealer(*map(Sensitive, groups))).decode()
    assert not [each for each in hidden if each in leaf]
    assert [each for each in shown if each in leaf] == [*shown]


def test_people_are_people_and_devices_stay_named() -> None:
    hmi = writer(sealer(Sensitive.PEOPLE)).intent(world.caller(), (writing(),), (APPROVED,), world.Clock()())[
        1
    ]
    told = json.loads(hmi)
    assert told["who"]["subject"] == told["why"]["input"]["subject"]["id"] == "spiffe://plant.example/hmi-3"
    assert "fingerprint" in told["who"]


def test_the_table_names_members_that_records_and_questions_have() -> None:
    record = json.loads(intent(None))
    record["result"] = json.loads(outcome(None))["result"]
    asked = [record["why"]["input"], *(each["input"] for each in record["why"]["also"])]
    record["what"]["entries"] = [{"values": "00", "reasons": [{"msg": "m"}], "input": each} for each in asked]
    for each in PLACES:
        for name in (*each.members, *filter(None, [each.subject])):
            assert _has(record, each.path.split("."), name), f"{each.path}: {name}"
    assert len(PLACES) > len(QUESTIONS) * len(IN_QUESTION)


def _has(value: Any, path: list[str], name: str) -> bool:
    """In the first operation of the frame or another one: each has another target."""
    if path[:1] in (["what"], ["why"]) and "also" in value.get(path[0], {}):
        parts = [value[path[0]], *value[path[0]]["also"]]
        return any(_has(part, path[1:], name) for part in parts)
    for at, step in enumerate(path):
        if step == "*":
            return any(_has(each, path[at + 1 :], name) for each in value)
        if not isinstance(value, dict) or value.get(step) is None:
            return False
        value = value[step]
    return name in value


def test_null_and_empty_members_stay() -> None:
    told = json.loads(intent(sealer()))
    assert told["what"]["modbus"]["and_mask"] is None
    assert told["who"]["issuer"] is None


def test_a_hash_that_could_be_guessed_from_is_kept_like_the_value() -> None:
    """A record that would be too long keeps hashes: of a few values they would be as good as the values."""
    many = msgspec.structs.replace(writing(), points=writing().points * 700)
    plain, sealed = intent(None, many), intent(sealer(), many)
    assert len(plain) <= MOST_BYTES
    assert len(sealed) <= MOST_BYTES
    assert isinstance(json.loads(plain)["what"]["points"], dict)
    digest = json.loads(plain)["what"]["points"]["sha256"]
    assert digest not in sealed.decode()
    assert isinstance(sealed, Sealed)
    assert Opened(json.loads(sealed), sealed.opening).record == json.loads(plain)


def test_a_record_that_commitments_make_too_long_keeps_hashes() -> None:
    many = msgspec.structs.replace(writing(), points=writing().points * 190)
    plain, sealed = intent(None, many), intent(sealer(), many)
    assert isinstance(json.loads(plain)["what"]["points"], list)
    assert 0 < len(sealed) <= MOST_BYTES
    assert json.loads(sealed)["what"]["points"].keys() == {"length", "committed"}


def test_without_groups_a_journal_is_what_it_was_byte_for_byte(tmp_path: Path) -> None:
    def made(name: str, by: Sealer | None) -> dict[str, bytes]:
        folder = tmp_path / name
        journal = world.journal(folder, world.Clock(), sealer=by)
        journal.open()
        assert journal._log is not None
        data = journal._writer.intent(person(), (writing(),), (world.ALLOW,), world.Clock()())[1]
        journal._log.append([data])
        journal._log.checkpoint()
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    nobody = Sealer((), random.Random(1).randbytes)  # noqa: S311 # dice of a test
    without, empty = made("without", None), made("empty", nobody)
    assert without == empty
    assert not [name for name in without if FOLDER in name]


def test_people_are_told_what_can_be_opened_and_what_was_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    sealing.made(folder, person())
    stored = dict(records(folder))
    at = next(n for n, data in stored.items() if b'"kind":"intent"' in data)
    openings = Openings(folder)
    assert openings.opened(0, stored[0]) is stored[0], "nothing in it is sealed"
    assert openings.told(at, stored[at])["who"]["subject"] == PERSON
    assert MARK not in openings.opened(at, stored[at])
    for file in (folder / FOLDER).iterdir():
        file.unlink()
    told = Openings(folder).told(at, stored[at])
    assert told["who"]["subject"] == told["who"]["source"] == "(dropped)"
    assert "q" not in told["what"]["points"][0]


def test_the_opening_lies_beside_the_log_in_its_order(tmp_path: Path) -> None:
    sealing.made(tmp_path / "journal", person(), world.caller())
    (file,) = (tmp_path / "journal" / FOLDER).iterdir()
    sealed = [n for n, data in records(tmp_path / "journal") if MARK in data]
    assert file.stem == f"{sealed[0]:020d}"
    openings = Openings(tmp_path / "journal")
    assert [n for n in range(sealed[-1] + 2) if openings.has(n)] == sealed
    assert framing.name(sealed[0]).removesuffix(".seg") == file.stem
