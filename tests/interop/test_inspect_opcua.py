"""`dmz-gateway inspect` on OPC UA: recorded captures of other stacks, and channels made for a test."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.shipped import folder
from gateway.wire.opcua.codes import BAD, status_name
from gateway.wire.opcua.services import BY_NAME
from tests.interop.captures import packets, pcap
from tests.interop.opcua_captures import streams
from tests.interop.test_inspect import Line, call
from tests.interop.test_opcua_captures import BASELINES, CAPTURES, EVERY, PORTS, Told, rows
from tests.opcua import Pair, at
from tests.unit.capture.conversation import Two, without
from tests.unit.inspect.opcua_talk import CREATE, READ_NAMESPACES, Talk, answer, read

pytest.importorskip("scapy", reason="extra `capture` is not installed")

LOCAL = {"OpenSecureChannel"}
"Told by inspect as the kind OPN, and by the test's reader as a message."


def inspected(path: Path, *words: object) -> list[Line]:
    result = call(path, "--json", *words)
    assert result.code in (0, 1), result.err
    return result.lines


def said(lines: list[Line], direction: str) -> list[Line]:
    return [
        line
        for line in lines
        if line["dir"] == direction and line.get("type") in ("MSG", "CLO") and "encrypted" not in line
    ]


@pytest.fixture(autouse=True)
def _captures_are_here() -> None:
    if not EVERY:
        pytest.skip("captures are missing: no shared/captures beside the repository")


# recorded captures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_every_capture_says_the_services_that_an_independent_reader_finds(path: Path) -> None:
    told, lines = Told(path), inspected(path)
    if "encrypted" in path.stem:
        assert any("certificates" in line for line in lines)
    found = Counter(line["service"] for line in said(lines, "req") if "service" in line)
    theirs = Counter(request.service.name for _, request in told.requests) + told.unsupported
    found += Counter(line["service"] for line in lines if line.get("type") == "OPN" and "service" in line)
    asked = {name: number for name, number in theirs.items() if name not in LOCAL}
    signed = path.stem == "pcaps__python_opcua-client-server_encrypted"
    if signed:  # mode Sign: we read it, the test's reader takes it for encrypted
        assert {"CreateSession", "ActivateSession", "Browse"} <= set(found)
    else:
        assert {name: number for name, number in found.items() if name not in LOCAL} == asked
    wrong = sum("malformed" in line["findings"] for line in lines)
    assert wrong <= sum(told.refused.values())


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_every_capture_is_readable_by_people(path: Path) -> None:
    result = call(path, "--would-refuse")
    assert result.code in (0, 1)
    assert not result.err
    assert "OPC UA, " in result.out
    assert " channel " in result.out
    assert max(map(len, result.out.splitlines())) < 400


@pytest.mark.parametrize("baseline", [each for each in BASELINES if "gap" not in each])
def test_services_and_status_codes_agree_with_zeek(baseline: str) -> None:
    lines = inspected(CAPTURES / f"{BASELINES[baseline]}.pcap")
    theirs = Counter(
        row[30].removesuffix("Request") for row in rows(baseline, "") if row[30].endswith("Request")
    )
    asked = Counter(line["service"] for line in lines if line["dir"] == "req" and "service" in line)
    assert asked == theirs
    results = Counter(
        status_name(int(row[14], 16))
        for row in rows(baseline, "_status_code_detail")
        if row[12] == "ResponseHeader"
    )
    assert Counter(line["status"] for line in lines if line["dir"] == "resp" and "status" in line) == results
    items = Counter(
        (row[12], status_name(int(row[14], 16)))
        for row in rows(baseline, "_status_code_detail")
        if row[12] in {"Browse", "CreateMonitoredItems", "Read", "Write"}
    )
    found: Counter[tuple[str, str]] = Counter()
    for line in said(lines, "resp"):
        if line.get("service") in {"Browse", "CreateMonitoredItems", "Read", "Write"}:
            found.update((line["service"], status) for status in line.get("statuses", ()))
    assert found == items


@pytest.mark.parametrize("baseline", [each for each in BASELINES if "gap" not in each])
def test_nodes_agree_with_zeek(baseline: str) -> None:
    lines = inspected(CAPTURES / f"{BASELINES[baseline]}.pcap")
    found = [
        operation["node"]
        for line in said(lines, "req")
        if line.get("service") == "Read"
        for operation in line["operations"]
    ]
    theirs = []
    for row in rows(baseline, "_read_nodes_to_read"):
        if row[6] == "T":
            space = f"ns={row[12]};" if row[12] not in ("-", "0") else ""
            theirs.append(space + (f"s={row[14]}" if row[14] != "-" else f"i={row[13]}"))
    assert found == theirs
    assert found


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_every_byte_of_every_capture_stands_in_a_line(path: Path) -> None:
    lines = inspected(path)
    for direction in ("req", "resp"):
        found = sum(line.get("bytes", 0) for line in lines if line["dir"] == direction)
        pieces = [each.pieces[direction] for each in streams(path, PORTS.get(path.stem, 4840))]
        assert found == sum(len(piece) for each in pieces for piece in each)
    assert not any("missing" in line or "fatal" in line for line in lines)


def test_what_zeek_takes_for_a_gap_is_only_out_of_order() -> None:
    lines = inspected(CAPTURES / "pcaps__opcua_with-gap.pcap")
    assert Counter(line["service"] for line in said(lines, "req"))["Publish"] == 50
    assert not any("unsolicited" in line["findings"] or "sequence" in line["findings"] for line in lines)


def test_without_a_handshake_it_says_so_and_reads_on() -> None:
    result = call(CAPTURES / "pcaps__open62541_client-server_mainloop-no-handshake.pcap")
    assert "no handshake in the capture" in result.out
    assert "ns=1;s=the.answer Value" in result.out
    assert "unsolicited" not in result.out


def test_an_odd_port_is_found_by_its_first_bytes() -> None:
    path = CAPTURES / "pcaps__open62541_client-server_mainloop-not-localhost-non-standard-port.pcap"
    assert path.stem in PORTS
    assert said(inspected(path), "req")
    assert ":48010   OPC UA" in call(path).out


def test_an_encrypted_capture_says_what_stands_outside() -> None:
    """open62541 under Basic128Rsa15: the gateway would not open such a channel."""
    path = CAPTURES / "pcaps__open62541_client-server_encrypted.pcap"
    result = call(path, "--would-refuse")
    assert "channel Basic128Rsa15, SignAndEncrypt: 1 opened, 0 renewals; client 6 messages" in result.out
    assert "urn:unconfigured:application; RSA 2048, sha256, self-signed, alone" in result.out
    assert "to the gateway: admitted once approved" in result.out
    assert "deprecated_policy: closed (BadSecurityPolicyRejected)" in result.out
    lines = inspected(path)
    assert sum(line.get("encrypted") == "opcua" for line in lines) == 11
    shown = [each for line in lines for each in line.get("certificates", ()) if each["of"] == "client"]
    assert shown[0]["uri"] == "urn:unconfigured:application"
    assert shown[0]["until"] == "2021-01-19T20:32:24Z"


def test_a_signed_capture_is_read_and_its_certificate_judged() -> None:
    """python-opcua under Sign, with a certificate whose key usage the gateway does not take."""
    path = CAPTURES / "pcaps__python_opcua-client-server_encrypted.pcap"
    result = call(path, "--would-refuse")
    assert "channel Basic256Sha256, Sign" in result.out
    assert "sign_only" in result.out
    assert "certificate.usage: closed (BadSecurityChecksFailed)" in result.out
    assert "application_uri" in result.out, "it calls itself otherwise than its certificate does"
    assert not any("malformed" in line["findings"] for line in inspected(path))


def test_a_password_in_clear_is_an_alarm_and_is_not_shown() -> None:
    path = CAPTURES / "tests__traces__open62541_client-server_mainloop.pcap"
    result = call(path, "--json")
    assert any("password_in_clear" in line["findings"] for line in result.lines)
    users = [line["user"] for line in result.lines if "user" in line]
    assert users == [{"kind": "user name", "name": "user1", "readable": True}]
    assert "password1" not in result.out + call(path).out
    assert b"password" in path.read_bytes(), "the capture has it"


def test_what_is_malformed_ends_in_words_not_in_an_exception() -> None:
    lines = inspected(CAPTURES / "tests__traces__pending_overflow.pcap")
    whys = {line["why"] for line in lines if "malformed" in line["findings"]}
    assert whys == {"an encoding of a NodeId that does not exist"}


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_bad_results_are_the_servers_own(path: Path) -> None:
    """Every bad status that people are shown is one that an answer of the capture has."""
    told = Told(path)
    theirs = {status_name(status) for each in told.answers for status in each.statuses if status & BAD}
    lines = inspected(path)
    if "encrypted" not in path.stem:
        found = {status for line in lines for status in line.get("statuses", ()) if status.startswith("Bad")}
        assert found == theirs


# made captures ----------------------------------------------------------------------------------------


def secured(policy: OpcuaPolicy, mode: OpcuaMode, renewals: int) -> Two:
    """A channel of ours, opened and renewed, with a message after each."""
    two, pair = Two().handshake(), Pair(policy, mode)
    seconds = 0.0

    def client(data: bytes) -> None:
        two.say(0, data)
        pair.server.receive(data, at(seconds))
        out = pair.server.take()
        if out:
            two.say(1, out)
            pair.client.receive(out, at(seconds))

    client(pair.client.hello())
    client(pair.client.open(at()))
    for number in range(renewals + 1):
        if number:
            seconds += 30
            client(pair.client.renew(at(seconds)))
        client(pair.client.message(10 + number, READ_NAMESPACES, at(seconds)))
        data = pair.server.message(10 + number, answer(READ_NAMESPACES), at(seconds))
        two.say(1, data)
        pair.client.receive(data, at(seconds))
    return two


@pytest.mark.parametrize("policy", OpcuaPolicy)
@pytest.mark.parametrize("mode", OpcuaMode)
def test_renewals_are_counted_and_signed_messages_read(
    tmp_path: Path, policy: OpcuaPolicy, mode: OpcuaMode
) -> None:
    capture = pcap(tmp_path / "a.pcap", packets(secured(policy, mode, 3), port=4840))
    result = call(capture, "--json")
    opens = [line for line in result.lines if line.get("type") == "OPN" and line["dir"] == "req"]
    assert [line["renew"] for line in opens] == [False, True, True, True]
    assert {line["policy"] for line in opens} == {policy.value}
    shown = call(capture).out
    assert f"channel {policy}, {mode}: 1 opened, 3 renewals" in shown
    read_lines = [line for line in result.lines if line.get("service") == "Read"]
    assert len(read_lines) == (8 if mode is OpcuaMode.SIGN else 0)
    assert not [
        line for line in result.lines if {"sequence", "malformed", "malformed_answer"} & set(line["findings"])
    ]


def test_loss_inside_a_chunk_is_told_and_the_next_chunk_read(tmp_path: Path) -> None:
    talk = Talk().open()
    for number in range(6):
        talk.ask(read("ns=1;s=Tank", number), read_answer=True)
    whole = [
        line
        for line in call(talk.write(tmp_path / "a.pcap"), "--json").lines
        if line.get("service") == "Read"
    ]
    assert len(whole) == 12
    sent = talk.two.sent
    lost = next(at for at, one in enumerate(sent) if one.data == talk.said[4])
    talk.two.sent = without(sent, lost)
    result = call(talk.write(tmp_path / "b.pcap"), "--json")
    assert sum(line.get("missing", 0) for line in result.lines) == len(talk.said[4])
    assert len([line for line in result.lines if line.get("service") == "Read"]) in (10, 11)
    assert not any("unsolicited" in line["findings"] for line in result.lines)


def test_wire_damage_has_a_name(tmp_path: Path) -> None:
    talk = Talk().open()
    talk.ask(read("ns=1;s=Tank", 1) + b"\0")
    talk.sequence += 5
    talk.ask(read("ns=1;s=Tank", 2))
    talk.answer_nobody()
    talk.two.say(0, b"GET / HTTP/1.1\r\n\r\n")
    lines = call(talk.write(tmp_path / "a.pcap"), "--json", "--would-refuse").lines
    found = [finding for line in lines for finding in line["findings"]]
    assert found == ["malformed", "sequence", "mode_none", "unsolicited", "framing"]
    then = [each["then"] for line in lines[:-1] for each in line["would_refuse"]]
    assert "closed (BadDecodingError)" in then
    assert lines[-2]["fatal"] == "framing"


# policy -----------------------------------------------------------------------------------------------


@pytest.fixture
def opcua_bundle(tmp_path: Path) -> Path:
    """The shipped rules; a panel may read what is in the tank of the first server."""
    made = tmp_path / "bundle"
    shutil.copytree(folder("policies"), made)
    shutil.rmtree(made / "tests")
    shutil.rmtree(made / "site" / "demo")
    reads = {
        "id": "panel-reads",
        "subjects": ["urn:demo:panel"],
        "protocols": ["opcua"],
        "assets": ["opcua-1"],
        "actions": ["read"],
        "opcua": [{"nodes": ["nsu=urn:demo:plc;s=Tank.*"], "attributes": ["Value"]}],
    }
    data: dict[str, Any] = {
        "assets": {"opcua-1": {"kind": "plc", "zone": "plant"}},
        "bounds": {"writes_60s": 100, "previous_age_ms": 10_000, "writable": {}, "limits": {}},
        "conduits": [{"from": "plant", "to": "plant", "protocols": ["opcua"]}],
        "grants": [reads],
        "role_bindings": {},
    }
    for name, value in data.items():
        (made / "data" / f"{name}.yaml").write_text(json.dumps({name: value}))
    return made


def test_a_policy_bundle_decides_each_item(tmp_path: Path, opcua_bundle: Path) -> None:
    talk = Talk().open().ask(CREATE).ask(READ_NAMESPACES, read_answer=True)
    talk.ask(read("ns=1;s=Tank.Level", 3)).ask(read("ns=1;s=Vault.Code", 4))
    capture = talk.write(tmp_path / "a.pcap")
    who = "10.0.0.5=urn:demo:panel"
    result = call(capture, "--json", "--policy", opcua_bundle, "--as", who, "--would-refuse")
    decided = {
        decision["question"]["opcua"]["node"]: decision["decision"]
        for line in result.lines
        for decision in line.get("decisions", ())
    }
    assert decided == {
        "i=2255": "denied",
        "nsu=urn:demo:plc;s=Tank.Level": "allowed",
        "nsu=urn:demo:plc;s=Vault.Code": "denied",
    }
    groups = [(each["code"], each["function"]) for each in result.lines[-1]["stopped"]["enforce"]]
    assert groups == [("grant.nodes", "opcua.read")]
    always = {each["code"] for each in result.lines[-1]["stopped"]["always"]}
    assert always == {"mode_none"}
    shown = call(capture, "--policy", opcua_bundle, "--as", who).out
    assert "policy: 1 operations allowed, 2 denied" in shown


def test_nodes_without_a_lasting_name_are_not_judged(tmp_path: Path, opcua_bundle: Path) -> None:
    talk = Talk().open().ask(read("ns=1;s=Tank.Level", 3))
    capture = talk.write(tmp_path / "a.pcap")
    words = ("--policy", opcua_bundle, "--as", "10.0.0.5=urn:demo:panel")
    decisions = [each for line in call(capture, *words, "--json").lines for each in line.get("decisions", ())]
    assert [(each["decision"], each["question"]) for each in decisions] == [("not judged", None)]
    assert "1 not judged: the capture does not name the server's namespaces" in call(capture, *words).out
    named = call(capture, *words, "--namespace", "urn:demo:plc")
    assert "policy: 1 operations allowed, 0 denied" in named.out


def test_nobody_gets_no_channel(tmp_path: Path, opcua_bundle: Path) -> None:
    talk = Talk().open().ask(READ_NAMESPACES, read_answer=True)
    words = ("--policy", opcua_bundle, "--as", "10.0.0.9=urn:demo:panel", "--would-refuse", "--json")
    last = call(talk.write(tmp_path / "a.pcap"), *words).lines[-1]
    assert ("nobody", "closed (BadSecurityChecksFailed)") in {
        (each["code"], each["then"]) for each in last["stopped"]["always"]
    }


def test_a_service_that_is_never_forwarded_is_stopped_in_every_stage(tmp_path: Path) -> None:
    talk = Talk().open().ask(read("i=85", 1, service=BY_NAME["AddNodes"].request))
    result = call(talk.write(tmp_path / "a.pcap"), "--would-refuse", "--json")
    stopped = [(each["code"], each["then"]) for each in result.lines[-1]["stopped"]["always"]]
    assert ("unsupported_service", "BadServiceUnsupported") in stopped
    assert result.code == 1
    assert json.loads(result.out.splitlines()[-1])["stream"] is None
