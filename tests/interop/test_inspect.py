"""`dmz-gateway inspect` as a person or a program calls it, on recorded and made captures."""

import argparse
import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from gateway.cli import inspect
from gateway.inspect import refusals
from gateway.model.errors import GatewayError
from gateway.shipped import folder
from gateway.wire.modbus.framing import adu
from tests.interop.captures import CLIENT, ETHERNET, SERVER, ipv4, packets, pcap, pcapng, tcp
from tests.interop.test_captures import CAPTURES, EXPECTED, SUFFIX
from tests.unit.capture.conversation import Two, without

HOME = Path(__file__).resolve().parents[2]
MANY = int(os.environ.get("INSPECT_PACKETS", "100000"))
"Packets of the large capture; a million by hand."
MOST_BYTES = 500 << 20

Line = dict[str, Any]


@pytest.fixture(autouse=True)
def _scapy_is_here() -> None:
    pytest.importorskip("scapy", reason="extra `capture` is not installed")


class Result:
    """What a call gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[Line]:
        return [json.loads(line) for line in self.out.splitlines()]


def call(*words: object) -> Result:
    """The command as `main` runs it, its output as a program would get it."""
    top = argparse.ArgumentParser()
    inspect.add(top.add_subparsers(required=True))
    args = top.parse_args(["inspect", *map(str, words)])
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = args.run(args)
        except GatewayError as error:
            err.write(f"dmz-gateway: {error}\n")
            code = 2
    out.seek(0)
    return Result(code, out.read(), err.getvalue())


def exchange(two: Two, tid: int, request: bytes, answer: bytes | None, unit: int = 1) -> Two:
    two.say(0, adu(tid, unit, request))
    return two if answer is None else two.say(1, adu(tid, unit, answer))


READ = bytes.fromhex("0300640001")
VALUE = bytes.fromhex("03020007")
WRITE = bytes.fromhex("0600000190")


def polls(count: int, two: Two | None = None) -> Two:
    two = two or Two().handshake()
    for tid in range(count):
        exchange(two, tid, READ, VALUE)
    return two


# recorded captures ------------------------------------------------------------------------------------

DIFFERENCES: dict[str, Counter[str]] = {
    "zeek/fuzz-1011.pcap": Counter(),
    "zeek/fuzz-72.pcap": Counter(
        {
            # The fuzzer has put SYN and FIN into the server's first packet. No TCP takes such a packet, so
            # the server's side begins with the next one; the checker took it, and saw a hole behind it.
            "+2 resp 9c01": 1,
            # Behind holes in both directions, a request and an answer that agree: we are in step again.
            # The checker ends a stream at its first hole.
            "+24 req 3600000000": 1,
            "+25 resp b601": 1,
            # The fuzzer has changed a retransmission; it is told, though no ADU comes of it.
            "+36 req odd": 1,
        }
    ),
    "quickdraw/modbus_test_data_part1.pcap": Counter(
        {
            # The third and fourth byte are enough to see that the protocol id is not 0; the checker waited
            # for the whole header, which the next segment ends.
            "+111 resp fatal": 1,
            "-113 resp fatal": 1,
        }
    ),
}
"Where inspect and the checker differ: + only we say it, - only the checker. All other captures agree."


CRAFTED: dict[str, list[str]] = {
    "01_fc3_valid_q1": [],
    "03_fc15_write_coil1_on_q1": [],
    "05_fc15_coil1_off_coil9_on": [],
    "07_fc15_valid_q200": [],
    "09_fc24_fifo_reads_100": [],
    "11_fc21_write_file_record": [],
    "13_fc6_addr_65535": [],
    "15_unknown_fc_first_then_write": ["user_function"],
    "17_invalid_first_then_write": ["quantity_zero"],
    "19_fc20_bad_reftype": ["file_ref_type"],
    "21_dup_tid_outstanding": ["duplicate_tid_outstanding"],
    "23_resp_unit_mismatch": ["unit_mismatch"],
    "25_pid_nonzero_second": ["protocol_id"],
    "27_len_over_254_hides_write": ["length_range"],
    "29_broadcast_write": ["broadcast_write"],
    "31_valid_fc4_q125": [],
    "33_smuggled_write_in_fc3": ["trailing_bytes", "unsolicited"],
}
"The right answer to each crafted question (`cases.json`, `truth`)."


def told(line: Line) -> str:
    """A line of ours or of the checker's, in one word."""
    what = "fatal" if "fatal" in line else line.get("pdu", "odd")
    return f"{line.get('frame', line.get('f'))} {line.get('dir', line.get('d'))} {what}"


@pytest.mark.parametrize(
    "expected", EXPECTED or [None], ids=lambda path: path.name.removesuffix(SUFFIX) if path else "none"
)
def test_every_capture_decodes_as_the_checker_says(expected: Path | None) -> None:
    """ADU by ADU: stream, frame, direction, ids, bytes; lost framing; the answers to crafted cases."""
    if expected is None:
        pytest.skip("captures are missing: no shared/captures beside the repository")
    capture = expected.with_name(expected.name.removesuffix(SUFFIX))
    result = call(capture, "--json")
    with gzip.open(expected, "rt") as text:
        checked = [json.loads(line) for line in text]
    ours: dict[int, list[Line]] = {}
    for line in result.lines:
        ours.setdefault(line["stream"], []).append(line)
    theirs: dict[int, list[Line]] = {}
    for line in checked:
        theirs.setdefault(line["s"], []).append(line)
    differing: Counter[str] = Counter()
    for stream in ours.keys() | theirs.keys():
        mine, other = list(map(told, ours.get(stream, []))), list(map(told, theirs.get(stream, [])))
        more, less = Counter(mine) - Counter(other), Counter(other) - Counter(mine)
        differing += Counter({f"+{what}": count for what, count in more.items()})
        differing += Counter({f"-{what}": count for what, count in less.items()})
        assert [what for what in mine if what not in more] == [what for what in other if what not in less]
        both = {told(line): line for line in theirs.get(stream, [])}
        for line in ours.get(stream, []):
            other_line = both.get(told(line))
            if other_line is not None and "pdu" in line:
                assert [line[key] for key in ("tid", "unit", "fc")] == [
                    other_line[key] for key in ("tid", "unit", "fc")
                ]
    if capture.parent.name == "crafted":
        right = CRAFTED[capture.stem]
        assert sorted(finding for line in result.lines for finding in line["findings"]) == right
        assert result.code == (1 if right else 0)
    assert differing == DIFFERENCES.get(f"{capture.parent.name}/{capture.name}", Counter())


def test_the_differences_are_at_most_ten() -> None:
    assert sum(sum(each.values()) for each in DIFFERENCES.values()) <= 10


def test_no_crafted_case_is_forgotten() -> None:
    if EXPECTED:
        assert CRAFTED.keys() == json.loads((CAPTURES / "crafted" / "cases.json").read_text()).keys()


@pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is missing")
def test_pcapng_by_another_program_says_the_same(tmp_path: Path) -> None:
    capture = CAPTURES / "suricata-verify" / "modbus.pcap"
    if not capture.exists():
        pytest.skip("captures are missing: no shared/captures beside the repository")
    subprocess.run(["editcap", "-F", "pcapng", capture, tmp_path / "a.pcapng"], check=True)
    assert call(tmp_path / "a.pcapng", "--json").out == call(capture, "--json").out


# made captures ----------------------------------------------------------------------------------------


def test_pcap_pcapng_and_gzip_say_the_same(tmp_path: Path) -> None:
    frames = packets(polls(5).end())
    classic = call(pcap(tmp_path / "a.pcap", frames), "--json")
    assert [line["pdu"] for line in classic.lines] == [READ.hex(), VALUE.hex()] * 5
    assert classic.lines[1]["request_frame"] == classic.lines[0]["frame"] == 4
    assert call(pcapng(tmp_path / "a.pcapng", frames), "--json").out == classic.out
    with gzip.open(tmp_path / "a.pcap.gz", "wb") as file:
        file.write((tmp_path / "a.pcap").read_bytes())
    assert call(tmp_path / "a.pcap.gz", "--json").out == classic.out


def test_several_adus_a_segment_and_an_adu_in_several(tmp_path: Path) -> None:
    two = Two().handshake()
    two.say(0, b"".join(adu(tid, 1, READ) for tid in range(7)))
    two.say(1, b"".join(adu(tid, 1, VALUE) for tid in range(7)), size=5)
    result = call(pcap(tmp_path / "a.pcap", packets(two)), "--json")
    assert [line["tid"] for line in result.lines] == [*range(7), *range(7)]
    assert not any(line["findings"] for line in result.lines)


def test_after_a_gap_decoding_goes_on_in_step(tmp_path: Path) -> None:
    """Half a request is lost, and a whole answer elsewhere; the rest is read, and nothing is invented."""
    two = Two().handshake()
    for tid in range(10):
        two.say(0, adu(tid, 1, READ), size=7).say(1, adu(tid, 1, VALUE))
    sent = [one for one in two.sent if one.data]
    lost = (two.sent.index(sent[3 * 3]), two.sent.index(sent[3 * 6 + 2]))
    broken = Two()
    broken.sent = without(two.sent, *lost)
    result = call(pcap(tmp_path / "a.pcap", packets(broken)), "--json")
    by_request = {line["tid"] for line in result.lines if line["dir"] == "req"}
    by_answer = {line["tid"] for line in result.lines if line["dir"] == "resp"}
    assert {line["pdu"] for line in result.lines} == {READ.hex(), VALUE.hex()}
    assert not any("fatal" in line for line in result.lines)
    assert by_answer == set(range(10)) - {6}
    assert by_request >= set(range(10)) - {3, 4}, "a request cut in two is in step at the next whole segment"
    assert sum(line.get("missing", 0) for line in result.lines) > 0
    assert "the capture lacks" in result.err


def test_a_write_on_an_odd_port_is_found_and_other_protocols_are_left_alone(tmp_path: Path) -> None:
    modbus = exchange(Two().handshake(), 1, WRITE, WRITE)
    other = Two().handshake().say(0, b"GET / HTTP/1.1\r\n\r\n").say(1, b"HTTP/1.1 200 OK\r\n\r\n")
    frames = packets(modbus, port=1502) + packets(other, port=8080, client_port=40_001)
    result = call(pcap(tmp_path / "a.pcap", frames), "--json")
    assert [line["pdu"] for line in result.lines] == [WRITE.hex()] * 2
    assert {line["stream"] for line in result.lines} == {0}
    forced = call(tmp_path / "a.pcap", "--json", "--port", 8080)
    assert [line["fatal"] for line in forced.lines if "fatal" in line] == ["protocol_id"]


def test_tls_on_802_is_said_to_be_unreadable_not_wrong(tmp_path: Path) -> None:
    hello = bytes.fromhex("160301002e0100002a0303") + bytes(38)
    frames = packets(Two().handshake().say(0, hello).say(1, hello), port=802)
    result = call(pcap(tmp_path / "a.pcap", frames), "--json")
    assert [line.get("encrypted") for line in result.lines] == ["tls"]
    assert result.code == 0
    assert "encrypted" in call(tmp_path / "a.pcap").out


def test_port_reuse_is_another_stream(tmp_path: Path) -> None:
    first = polls(2).end()
    second = polls(2, Two(initial=(7_000_000, 9_000_000)).handshake())
    result = call(pcap(tmp_path / "a.pcap", packets(first) + packets(second)), "--json")
    assert [line["stream"] for line in result.lines] == [0] * 4 + [1] * 4


def test_what_a_retransmission_changes_is_an_alarm(tmp_path: Path) -> None:
    two = Two().handshake().say(0, adu(1, 1, READ))
    frames = packets(two)
    frames.append(frames[-1][: -len(READ)] + WRITE)
    more = packets(exchange(two, 2, READ, None))[-1:]
    result = call(pcap(tmp_path / "a.pcap", frames + more), "--json")
    assert [line["pdu"] for line in result.lines] == [READ.hex()] * 2
    assert result.lines[1]["tcp"] == ["overlap_differs"]
    assert result.code == 1


def test_people_see_the_findings_first(tmp_path: Path) -> None:
    two = polls(3)
    exchange(two, 9, READ + adu(1, 1, WRITE), VALUE)
    exchange(two, 10, bytes.fromhex("5a0001"), None)
    result = call(pcap(tmp_path / "a.pcap", packets(two)))
    assert result.code == 1
    title = next(n for n, line in enumerate(result.out.splitlines()) if "10.0.0.5 → 10.0.0.1:502" in line)
    first, second = result.out.splitlines()[title + 1 : title + 3]
    assert {first.split()[1], second.split()[1]} == {"trailing_bytes", "vendor_function"}
    assert "modbus.read_holding_registers" in result.out


# would-refuse and policy --------------------------------------------------------------------------------


def test_would_refuse_names_what_breaks_and_the_quirk_that_mends_it(tmp_path: Path) -> None:
    two = polls(1)
    exchange(two, 5, b"\x01\x00\x00\x00\x01", bytes.fromhex("810600"))
    two.say(0, adu(6, 1, READ)).say(1, adu(0x1006, 1, VALUE))
    exchange(two, 7, b"\x5a\x00", None)
    exchange(two, 8, b"\x03\x00\x00\x00\x00", b"\x83\x03")
    two.say(0, b"\0\1\0\7\0\6\1" + READ)
    result = call(pcap(tmp_path / "a.pcap", packets(two)), "--json", "--would-refuse")
    broken = [(each["what"], each["quirk"]) for line in result.lines for each in line["would_refuse"]]
    assert broken == [
        ("exception_length", "exception_padded"),
        ("unsolicited", "id_not_echoed"),
        ("vendor_function", None),
        ("quantity_zero", None),
        ("protocol_id", None),
    ]
    shown = call(tmp_path / "a.pcap", "--would-refuse")
    assert "quirk `exception_padded` tolerates it" in shown.out
    assert "closed" in shown.out
    assert shown.code == 1


def test_an_answer_slower_than_the_gateway_waits_is_named(tmp_path: Path) -> None:
    result = call(pcap(tmp_path / "a.pcap", packets(polls(1)), step_us=2_000_000), "--would-refuse")
    assert "timeout_ms is 1000" in result.out


def test_nothing_breaks_where_nothing_is_wrong(tmp_path: Path) -> None:
    result = call(pcap(tmp_path / "a.pcap", packets(polls(3))), "--would-refuse")
    assert "would break nothing here" in result.out
    assert result.code == 0


def test_policy_decides_every_operation(tmp_path: Path) -> None:
    """The shipped demo policy; units are assets of their own without a configuration, and it grants none."""
    two = exchange(polls(1), 2, WRITE, WRITE)
    exchange(two, 3, bytes.fromhex("170000000100020001020007"), VALUE)
    exchange(two, 4, b"\x5a\x00", None)
    capture = pcap(tmp_path / "a.pcap", packets(two))
    who = "10.0.0.5=spiffe://demo.example/plant/hmi-1:operator"
    result = call(capture, "--json", "--policy", folder("policies"), "--as", who)
    asked = [line for line in result.lines if line["dir"] == "req"]
    kinds = [[(each["action"], each["decision"]) for each in line["decisions"]] for line in asked]
    denied = "denied"
    assert kinds == [
        [("read", denied)],
        [("write", denied)],
        [("write", denied), ("read", denied)],
        [(None, denied)],
    ]
    assert asked[3]["decisions"][0]["reasons"] == ["wire.unknown_function"]
    assert result.code == 1


def configured(folder_: Path) -> Path:
    """The demo's configuration, its plant where the captures have it; it names files, which must be there."""
    text = (HOME / "gateway" / "demo" / "templates" / "gateway.yaml").read_text()
    for part in ("${opcua}", "${opcua_assets}", "${opcua_tags}"):
        text = text.replace(part, "")
    text = text.partition("north:")[0].replace("127.0.0.1:$plc", "10.0.0.1:502")
    text = (
        text.replace("127.0.0.1:$meter", "10.0.0.2:502").replace("$modbus", "8802").replace("$admin", "8804")
    )
    for name in ("gw-1.pem", "gw-1.key", "log-1.key"):
        (folder_ / "pki/plant/issued").mkdir(parents=True, exist_ok=True)
        (folder_ / "pki/plant/issued" / name).touch(mode=0o600)
    for zone in ("plant", "it"):
        (folder_ / "pki" / zone).mkdir(parents=True, exist_ok=True)
        for name in ("anchors.pem", "crl.pem"):
            (folder_ / "pki" / zone / name).touch()
    shutil.copytree(folder("policies"), folder_ / "policies")
    (folder_ / "gateway.yaml").write_text(text)
    return folder_ / "gateway.yaml"


def test_with_a_configuration_policy_knows_assets_tags_and_what_they_were(tmp_path: Path) -> None:
    """The operator may read, and move the set point by at most 30 % a step from where it was last seen."""
    two = exchange(Two().handshake(), 1, bytes.fromhex("0300000001"), bytes.fromhex("030201f4"))
    exchange(two, 2, bytes.fromhex("0600000258"), bytes.fromhex("0600000258"))  # 50 % -> 60 %
    exchange(two, 3, bytes.fromhex("0300000001"), bytes.fromhex("03020064"))
    exchange(two, 4, bytes.fromhex("0600000320"), bytes.fromhex("0600000320"))  # 10 % -> 80 %
    exchange(two, 5, READ, VALUE, unit=9)
    capture = pcap(tmp_path / "a.pcap", packets(two))
    who = "10.0.0.5=spiffe://demo.example/plant/hmi-1:operator"
    words = ("--config", configured(tmp_path), "--policy", folder("policies"), "--as", who)
    result = call(capture, "--json", "--would-refuse", *words)
    asked = [line for line in result.lines if line["dir"] == "req"]
    decisions = [line["decisions"][0] for line in asked]
    assert [each["decision"] for each in decisions] == ["allowed", "allowed", "allowed", "denied", "denied"]
    assert {each["asset"] for each in decisions[:4]} == {"plc-1"}
    assert decisions[1]["grants"] == ["operator-level-setpoint"]
    assert decisions[4]["reasons"] == ["wire.unmapped_unit"]
    assert "value_delta" in asked[3]["findings"]
    assert asked[4]["would_refuse"][0]["what"] == "unmapped_unit"
    shown = call(capture, *words)
    assert "3 operations allowed, 2 denied" in shown.out


def test_who_is_not_named_is_nobody(tmp_path: Path) -> None:
    capture = pcap(tmp_path / "a.pcap", packets(polls(1)))
    result = call(capture, "--json", "--policy", folder("policies"), "--as", "10.9.9.9=spiffe://a/b:operator")
    assert result.lines[0]["decisions"][0]["reasons"] == ["inspect.nobody"]


@pytest.mark.parametrize(
    "words", [("--as", "10.0.0.5=spiffe://a/b"), ("--policy", "x", "--as", "hmi=spiffe://a/b")]
)
def test_a_call_that_makes_no_sense_is_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = call(pcap(tmp_path / "a.pcap", packets(polls(1))), *words)
    assert result.code == 2
    assert "--as" in result.err
    assert not result.out


# what cannot be read ------------------------------------------------------------------------------------


def test_what_is_no_capture_is_said_so(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("not a capture at all")
    for file, words in ((text, "neither pcap nor pcapng"), (tmp_path / "none", "No such file")):
        result = call(file)
        assert result.code == 2
        assert words in result.err
        assert not result.out


@pytest.mark.parametrize("ng", [False, True])
def test_a_capture_that_breaks_off_shows_what_was_read(tmp_path: Path, ng: bool) -> None:
    whole = (pcapng if ng else pcap)(tmp_path / "whole", packets(polls(5)))
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-30])
    result = call(cut, "--json")
    assert result.code == 2
    assert "damaged or cut off" in result.err
    assert [line["pdu"] for line in result.lines][:9] == [READ.hex(), VALUE.hex()] * 4 + [READ.hex()]
    assert "5 asked" in call(cut).out


def test_a_record_that_claims_gigabytes_is_damage(tmp_path: Path) -> None:
    whole = pcap(tmp_path / "a.pcap", packets(polls(1)))
    lie = tmp_path / "lie.pcap"
    lie.write_bytes(whole.read_bytes() + pack("<IIII", 0, 0, 0xFFFF_FFF0, 0xFFFF_FFF0))
    block = tmp_path / "lie.pcapng"
    block.write_bytes(
        pcapng(tmp_path / "a.pcapng", packets(polls(1))).read_bytes() + pack("<II", 6, 0xFFFF_FFF0)
    )
    for file in (lie, block):
        result = call(file, "--json")
        assert result.code == 2
        assert len(result.lines) == 2
        assert "damaged" in result.err


def test_a_link_layer_that_is_not_read_is_no_clean_capture(tmp_path: Path) -> None:
    result = call(pcap(tmp_path / "a.pcap", packets(polls(1)), link=147))
    assert result.code == 2
    assert "link layer" in result.err


def test_fragments_are_not_read_and_said_so(tmp_path: Path) -> None:
    fragment = ETHERNET + ipv4(CLIENT, SERVER, tcp(40_000, 502, 1, 1, 0x18, adu(1, 1, READ)), fragment=0x2000)
    result = call(pcap(tmp_path / "a.pcap", [fragment]))
    assert "1 packets ip_fragment" in result.out


def test_without_scapy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there, as Python says it; found before the real one."""
    hidden = tmp_path / "hidden" / "scapy"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'scapy'\", name='scapy')"
    )
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    result = call(pcap(tmp_path / "a.pcap", packets(polls(1))))
    assert result.code == 2
    assert "pip install 'dmz-gateway[capture]'" in result.err
    assert not result.out


# the licence wall -----------------------------------------------------------------------------------------


def test_the_capture_program_loads_scapy_and_nothing_else_of_others(tmp_path: Path) -> None:
    """Every module that it has loaded at its end is scapy's, its own, or Python's."""
    capture = pcap(tmp_path / "a.pcap", packets(polls(1)))
    program = (
        "import runpy, sys\n"
        "sys.argv = ['capture', sys.argv[1]]\n"
        "try: runpy.run_module('gateway.capture', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: pass\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if module is not None: sys.stderr.write(f'{name} {getattr(module, \"__file__\", None)}\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, capture], capture_output=True, text=False, check=True, cwd=HOME
    )
    loaded = dict(line.split(" ", 1) for line in done.stderr.decode().splitlines())
    ours = {name for name in loaded if name.partition(".")[0] == "gateway"}
    assert {name.split(".")[1] for name in ours if "." in name} == {"capture"}
    others = {name.partition(".")[0] for name, file in loaded.items() if "site-packages" in file}
    assert {name for name in others if not name.startswith("_")} == {"scapy"}


# size -----------------------------------------------------------------------------------------------------


def many(count: int, conversations: int = 50) -> Iterator[bytes]:
    """So many packets of polling, some of them lost by the capture."""
    at = [[1000, 5000] for _ in range(conversations)]
    for number in range(count // 2):
        who = number % conversations
        client = bytes([10, 0, 1, who])
        tid = number & 0xFFFF
        for side, pdu in ((0, bytes.fromhex("030064000a")), (1, b"\x03\x14" + bytes(20))):
            data = adu(tid, 1, pdu)
            ends = (client, SERVER) if side == 0 else (SERVER, client)
            ports = (40_000, 502) if side == 0 else (502, 40_000)
            sequence, acknowledged = at[who][side], at[who][1 - side]
            at[who][side] += len(data)
            lost = number % 1000 == 999 and side == 0
            if not lost:
                yield ETHERNET + ipv4(*ends, tcp(*ports, sequence, acknowledged, 0x18, data))


def test_a_large_capture_needs_little_memory(tmp_path: Path) -> None:
    """Both processes far below the bound, and all of the capture is read."""
    capture = pcap(tmp_path / "large.pcap", many(MANY))
    program = (
        "import argparse, resource, sys\n"
        "from gateway.cli import inspect\n"
        "top = argparse.ArgumentParser(); inspect.add(top.add_subparsers(required=True))\n"
        "args = top.parse_args(['inspect', *sys.argv[1:]]); code = args.run(args)\n"
        # ru_maxrss of a process counts what it was forked from, here the tests; VmHWM does not.
        "own = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print('peak', own, file=sys.stderr); print('peak', child, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, capture, "--json"], capture_output=True, check=True, cwd=HOME
    )
    words = done.stderr.decode().splitlines()
    peaks = [int(word.split()[1]) << 10 for word in words if word.startswith("peak")]
    assert len(peaks) == 2
    assert sum(peaks) < MOST_BYTES
    read = done.stdout.count(b"\n")
    lost = MANY // 2000
    assert MANY - 3 * lost <= read <= MANY - lost, "an answer to what was lost is still read"
    assert f"the capture lacks {12 * (lost - 1)} bytes in {lost - 1} places" in done.stderr.decode(), (
        "nothing comes behind the last"
    )


def test_the_command_is_on_the_command_line() -> None:
    """`add` gives a command whose `run` takes what argparse makes."""
    top = argparse.ArgumentParser()
    inspect.add(top.add_subparsers(required=True))
    args = top.parse_args(["inspect", "/nowhere.pcap"])
    with pytest.raises(GatewayError, match="No such file"):
        args.run(args)


# what would be stopped ----------------------------------------------------------------------------------

HMI = "10.0.0.5=spiffe://demo.example/plant/hmi-1:operator"


def stopped(result: Result) -> dict[str, list[tuple[str, str, int]]]:
    """By stage: function, code and how often, of the last line."""
    last = result.lines[-1]
    assert (last["dir"], last["would_refuse"]) == (None, []), "it has what every line has"
    return {
        stops: sorted((each["function"], each["code"], each["count"]) for each in groups)
        for stops, groups in last["stopped"].items()
    }


def test_guardrails_and_framing_are_told_apart_from_what_only_enforce_denies(tmp_path: Path) -> None:
    """Every stage stops what the wire refuses; a value that no grant covers, only `enforce`."""
    two = exchange(Two().handshake(), 1, bytes.fromhex("0300000001"), bytes.fromhex("030201f4"))
    exchange(two, 2, bytes.fromhex("0600000384"), bytes.fromhex("0600000384"))  # beyond what a step may be
    exchange(two, 3, b"\x5a\x00", None)
    exchange(two, 4, bytes.fromhex("0800010000"), None)  # restart communications
    exchange(two, 5, READ, VALUE, unit=9)
    exchange(two, 6, b"\x03\x00\x00\x00\x00", b"\x83\x03")
    capture = pcap(tmp_path / "a.pcap", packets(two))
    words = ("--would-refuse", "-c", configured(tmp_path), "--as", HMI)
    result = call(capture, "--json", *words)
    found = stopped(result)
    assert found["always"] == [
        ("modbus.diagnostics", "never_forwarded", 1),
        ("modbus.read_holding_registers", "quantity_zero", 1),
        ("modbus.read_holding_registers", "unmapped_unit", 1),
        ("modbus.umas", "vendor_function", 1),
    ]
    ((function, code, count),) = found["enforce"]
    assert (function, code.partition(".")[0], count) == ("modbus.write_single_register", "grant", 1)
    assert result.code == 1
    shown = call(capture, *words).out
    assert "stopped in every stage, observe and monitor too: 4 in 4 groups" in shown
    assert "denied only once the stage is enforce: 1 in 1 groups" in shown
    assert shown.index("every stage") < shown.index(code)


def test_a_group_says_who_where_when_and_which_packets(tmp_path: Path) -> None:
    two = Two().handshake()
    for tid in range(5):
        exchange(two, tid, b"\x5a\x00", None, unit=3)
    result = call(pcap(tmp_path / "a.pcap", packets(two)), "--json", "--would-refuse")
    (group,) = result.lines[-1]["stopped"]["always"]
    assert group == {
        "source": "10.0.0.5",
        "unit": 3,
        "asset": "unit-3",
        "function": "modbus.umas",
        "code": "vendor_function",
        "then": "exception 01 (illegal function)",
        "count": 5,
        "first": "2023-11-14T22:13:20.003Z",
        "last": "2023-11-14T22:13:20.007Z",
        "frames": [4, 5, 6],
    }


@pytest.mark.parametrize(
    ("who", "code", "then"),
    [
        ("10.0.0.5=spiffe://demo.example/plant/hmi-1", "role_absent", "exception 01 (illegal function)"),
        ("10.9.9.9=spiffe://demo.example/plant/hmi-1:operator", "nobody", "no connection"),
    ],
)
def test_who_has_no_role_or_no_certificate_is_stopped_in_every_stage(
    tmp_path: Path, who: str, code: str, then: str
) -> None:
    result = call(pcap(tmp_path / "a.pcap", packets(polls(3))), "--json", "--would-refuse", "--as", who)
    (group,) = result.lines[-1]["stopped"]["always"]
    assert (group["code"], group["then"], group["count"]) == (code, then, 3)
    assert result.code == 1


def test_a_guardrail_is_named_by_its_code(tmp_path: Path) -> None:
    """Without a configuration no unit is an asset that the demo's policy knows."""
    capture = pcap(tmp_path / "a.pcap", packets(polls(2)))
    result = call(capture, "--json", "--would-refuse", "--policy", folder("policies"), "--as", HMI)
    always = stopped(result)["always"]
    assert ("modbus.read_holding_registers", "guardrail.unknown_asset", 2) in always
    assert not stopped(result)["enforce"], "what is stopped always is not told twice"
    assert [each["stops"] for line in result.lines for each in line.get("decisions", ())] == ["always"] * 2


def test_without_as_nobody_is_judged_but_the_wire_is(tmp_path: Path) -> None:
    words = ("--json", "--would-refuse", "--policy", folder("policies"))
    result = call(pcap(tmp_path / "a.pcap", packets(polls(2))), *words)
    assert stopped(result) == {"always": [], "enforce": []}
    assert result.code == 0


def test_a_finding_alone_stops_nothing(tmp_path: Path) -> None:
    """A restart of communications is an alarm and is stopped; a recon read is told, and goes through."""
    capture = pcap(tmp_path / "a.pcap", packets(exchange(polls(1), 3, b"\x11", b"\x11\x02\x01\xff")))
    assert call(capture, "--would-refuse").code == 0


def test_groups_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST_GROUPS", 2)
    two = Two().handshake()
    for unit in range(5):
        exchange(two, unit, b"\x5a\x00", None, unit=unit + 1)
    result = call(pcap(tmp_path / "a.pcap", packets(two)), "--json", "--would-refuse")
    found = {each["source"]: each["count"] for each in result.lines[-1]["stopped"]["always"]}
    assert found["others"] == 3
    assert len(result.lines[-1]["stopped"]["always"]) == 3


WOULD_REFUSE = {
    "crafted/01_fc3_valid_q1.pcap": set(),
    "crafted/15_unknown_fc_first_then_write.pcap": {"user_function"},
    "crafted/17_invalid_first_then_write.pcap": {"quantity_zero"},
    "crafted/25_pid_nonzero_second.pcap": {"protocol_id"},
    "crafted/27_len_over_254_hides_write.pcap": {"length_range"},
    "quickdraw/modbus_test_data_part1.pcap": {
        "never_forwarded",
        "trailing_bytes",
        "length_range",
        "protocol_id",
        "unsolicited",
    },
}


@pytest.mark.parametrize("name", sorted(WOULD_REFUSE))
def test_recorded_captures_say_what_would_be_stopped(name: str) -> None:
    if not (CAPTURES / name).exists():
        pytest.skip("captures are missing: no shared/captures beside the repository")
    result = call(CAPTURES / name, "--json", "--would-refuse")
    found = {each["code"] for each in result.lines[-1]["stopped"]["always"]}
    assert found >= WOULD_REFUSE[name]
    assert bool(found) == bool(WOULD_REFUSE[name])
    assert result.code == (1 if found else 0)
