"""The journal as the guard uses it: receipts, what records say, bounds, failure."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import backlog, windows
from gateway.audit.journal import MOST_UNCOVERED, Journal
from gateway.audit.reader import records
from gateway.audit.signer import Signer
from gateway.audit.window import LINGER, MOST_ALIASES
from gateway.model.errors import JournalError
from gateway.model.record import Accepted, Durable, Gap, NotRecorded, RecordKind
from tests.unit.audit import world
from tests.unit.audit.memory import Memory
from tests.unit.audit.world import ALLOW, DENY, READ_OK, Clock, caller, reading, writing


async def until(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "it never came true"
        await asyncio.sleep(0.002)


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(data) for _, data in records(folder)]


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in told(folder) if record["kind"] == kind]


async def started(folder: Path, clock: Clock, **changes: Any) -> Journal:
    journal = world.journal(folder, clock, **changes)
    journal.open()
    await journal.start(asyncio.get_running_loop())
    return journal


def test_intent_is_on_disk_when_the_receipt_comes(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        receipt = await journal.intent(caller(), (writing(),), (ALLOW,), clock())
        assert isinstance(receipt, Durable)
        stored = dict(records(tmp_path))[receipt.index]
        record = json.loads(stored)
        assert record["id"] == receipt.record
        assert record["kind"] == "intent"
        assert world.QUESTION in stored, "the question stands there byte for byte"
        assert record["who"]["subject"] == "spiffe://plant.example/hmi-3"
        assert record["what"]["points"] == [
            {
                "tag": "plc-1.level_sp",
                "q": 425,
                "q_prev": 400,
                "age_ms": 10,
                "value": 42.5,
                "value_prev": 40.0,
                "unit": "%",
            }
        ]
        assert record["why"]["decision"] == "allow"
        assert record["why"]["obligations"] == [{"type": "audit", "level": "full"}]
        journal.outcome(receipt, caller(), {"status": "ok"}, clock())
        await until(lambda: of_kind(tmp_path, "outcome"))
        assert of_kind(tmp_path, "outcome")[0]["about"] == receipt.record
        await journal.stop()

    asyncio.run(run())


def test_a_frame_with_two_operations_is_one_intent_led_by_the_write(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        await journal.intent(caller(), (reading(), writing()), (READ_OK, ALLOW), clock())
        await journal.stop()

    asyncio.run(run())
    (intent,) = of_kind(tmp_path, "intent")
    assert intent["what"]["action"] == "write"
    assert [o["action"] for o in intent["what"]["also"]] == ["read"]
    assert intent["why"]["also"][0]["input"]["op"]["action"] == "read"


def test_long_values_are_kept_as_hash_and_length(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        await journal.intent(caller(), (writing(values=tuple([1] * 4000)),), (ALLOW,), clock())
        await journal.stop()

    asyncio.run(run())
    (intent,) = of_kind(tmp_path, "intent")
    assert set(intent["what"]["modbus"]["values"]) == {"sha256", "length"}
    assert intent["what"]["modbus"]["start"] == 0


def test_reads_share_an_entry_and_become_one_window_record(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        first, second = caller(connection="C1"), caller(connection="C2")
        operation, equal, other = reading(), reading(), reading(start=50, tag="plc-1.flow")
        receipts = [
            journal.read(first, operation, READ_OK, clock()),
            journal.read(first, operation, READ_OK, clock.forward(1)),
            journal.read(second, equal, READ_OK, clock()),
            journal.read(first, other, READ_OK, clock()),
        ]
        assert receipts[0] is receipts[1] is receipts[2]
        for receipt in receipts[:2]:
            assert isinstance(receipt, Accepted)
            receipt.answered(b"\1\2")
        assert isinstance(receipts[2], Accepted)
        receipts[2].failed("timeout")
        assert isinstance(receipts[3], Accepted)
        receipts[3].answered(b"\3")
        assert not of_kind(tmp_path, "window")
        clock.forward(10)
        await until(lambda: of_kind(tmp_path, "window"))
        await journal.stop()

    asyncio.run(run())
    (window,) = of_kind(tmp_path, "window")
    assert window["note"]["connections"] == ["C1", "C2"]
    assert window["why"]["input"]["subject"] == {"id": "spiffe://plant.example/hmi-3"}
    shared, other = window["what"]["entries"]
    assert (shared["asked"], shared["answered"], shared["failed"]) == (3, 2, 1)
    assert shared["failures"] == {"timeout": 1}
    assert shared["last_ns"] - shared["first_ns"] == 1_000_000_000
    assert shared["input"]["points"][0]["tag"] == "plc-1.level"
    assert other["input"]["modbus"]["start"] == 50
    assert other["values"] != shared["values"] != "00" * 32


def test_a_window_ends_when_facts_or_bundle_change(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        operation, who = reading(), caller()
        for decision in (READ_OK, READ_OK):
            receipt = journal.read(who, operation, decision, clock())
            assert isinstance(receipt, Accepted)
            receipt.answered(b"x")
            journal.rotate_windows(clock())
        await journal.stop()

    asyncio.run(run())
    assert len(of_kind(tmp_path, "window")) == 2


def test_a_late_answer_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        journal.read(caller(), reading(), READ_OK, clock())
        clock.forward(10)
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not of_kind(tmp_path, "window")
        clock.forward(LINGER / 1e9)
        await until(lambda: of_kind(tmp_path, "window"))
        await journal.stop()

    asyncio.run(run())
    (window,) = of_kind(tmp_path, "window")
    assert (window["what"]["entries"][0]["asked"], window["what"]["entries"][0]["answered"]) == (1, 0)


def test_many_entries_are_split_into_records_that_fit(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        for i in range(600):
            receipt = journal.read(caller(), reading(start=i), READ_OK, clock())
            assert isinstance(receipt, Accepted)
            receipt.answered(b"x")
        await journal.stop()

    asyncio.run(run())
    found = of_kind(tmp_path, "window")
    assert len(found) > 1
    assert {w["note"]["window"] for w in found} == {found[0]["note"]["window"]}
    starts = [e["input"]["modbus"]["start"] for w in found for e in w["what"]["entries"]]
    assert starts == list(range(600))
    assert all(len(data) <= 65_535 for _, data in records(tmp_path))


def test_more_entries_than_the_bound_close_the_windows_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MOST_ENTRIES", 10)
    monkeypatch.setattr(windows, "MOST_KEPT", 20)

    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        receipts = [journal.read(caller(), reading(start=i), READ_OK, clock()) for i in range(21)]
        assert all(isinstance(receipt, Accepted) for receipt in receipts[:20])
        assert receipts[20] == NotRecorded("journal_windows_full")
        for receipt in receipts[:20]:
            assert isinstance(receipt, Accepted)
            receipt.answered(b"x")
        await until(lambda: journal.status()["window_entries"] == 0 or clock.forward(1) is None)
        assert isinstance(journal.read(caller(), reading(), READ_OK, clock()), Accepted)
        await journal.stop()

    asyncio.run(run())


def test_connections_that_come_and_go_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_CALLERS", 8)
    journal = world.journal(tmp_path, Clock())
    operation, clock = reading(), Clock()
    for i in range(100):
        journal.read(caller(connection=f"C{i}"), operation, READ_OK, clock())
    assert len(journal._hot) == 8
    window = next(iter(journal._windows._open.values()))
    assert len(window.connections) + window.more == 100


def test_an_entry_takes_new_operation_objects_without_keeping_them_all(tmp_path: Path) -> None:
    journal, clock, who = world.journal(tmp_path, Clock()), Clock(), caller()
    receipts = {id(journal.read(who, reading(), READ_OK, clock())) for _ in range(50)}
    assert len(receipts) == 1
    assert len(journal._hot[who]) == MOST_ALIASES


def test_a_read_that_cannot_be_described_gets_no_receipt(tmp_path: Path) -> None:
    clock = Clock()
    journal = world.journal(tmp_path, clock)

    def broken(*_: object) -> bytes:
        raise ValueError("no")

    journal._writer._describe = broken
    assert journal.read(caller(), reading(), READ_OK, clock()) == NotRecorded("record_not_made")


def test_denials_may_not_use_what_is_kept_for_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST_QUEUED", 20)
    monkeypatch.setattr(backlog, "KEPT_FOR_WRITES", 5)

    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        for i in range(40):
            journal.denied(caller(subject=f"spiffe://x/{i}"), writing(), DENY, clock())
        assert len(journal._backlog.unhurried) == 15
        assert isinstance(await journal.intent(caller(), (writing(),), (ALLOW,), clock()), Durable)
        await journal.stop()
        assert sum(r["note"]["count"] for r in of_kind(tmp_path, "suppressed")) == 25

    asyncio.run(run())


def test_a_full_queue_refuses_writes_with_a_reason_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_QUEUED", 3)
    monkeypatch.setattr(backlog, "KEPT_FOR_WRITES", 1)

    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        receipts = await asyncio.gather(
            *(journal.intent(caller(), (writing(),), (ALLOW,), clock()) for _ in range(5))
        )
        assert [isinstance(receipt, Durable) for receipt in receipts] == [True] * 3 + [False] * 2
        assert receipts[4] == NotRecorded("journal_queue_full")
        clock.forward(2)
        await until(lambda: of_kind(tmp_path, "gap"))
        assert of_kind(tmp_path, "gap")[0]["note"] == {"why": "queue_full", "missed": {"intent": 2}}
        await journal.stop()

    asyncio.run(run())


def test_bytes_under_way_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST_QUEUED_BYTES", 100)

    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        receipt = await journal.intent(caller(), (writing(),), (ALLOW,), clock())
        assert receipt == NotRecorded("journal_queue_full")
        await journal.stop()

    asyncio.run(run())


def test_after_an_io_error_writes_stop_and_reads_go_on_for_a_while(tmp_path: Path) -> None:
    """Invariant 10."""

    async def run() -> None:
        disk, clock, alarms = Memory(), Clock(), list[str]()
        journal = await started(tmp_path, clock, storage=disk, alarms=alarms, reads_without_journal_s=60.0)
        operation, who = reading(), caller()
        assert isinstance(journal.read(who, operation, READ_OK, clock()), Accepted)
        failures = [OSError(5, "Input/output error")]
        disk.fail = lambda op, _: failures.pop() if failures and op == "fdatasync" else None
        assert await journal.intent(who, (writing(),), (ALLOW,), clock()) == NotRecorded("journal_failed")
        # The disk would work again. It must not be believed.
        assert await journal.intent(who, (writing(),), (ALLOW,), clock()) == NotRecorded("journal_failed")
        gap = journal.read(who, operation, READ_OK, clock.forward(59))
        assert isinstance(gap, Gap)
        assert journal.read(who, operation, READ_OK, clock.forward(2)) == NotRecorded("journal_failed")
        assert len(alarms) == 1
        assert "Input/output" in alarms[0]
        assert journal.status()["failed"] == "Input/output error"
        await journal.stop()
        again = world.journal(tmp_path, clock, storage=disk)
        assert again.open().gap

    asyncio.run(run())


def test_a_disk_that_does_not_answer_refuses_the_write_and_says_it_was_not_sent(tmp_path: Path) -> None:
    async def run() -> None:
        import threading

        disk, clock, stuck = Memory(), Clock(), threading.Event()
        journal = await started(tmp_path, clock, storage=disk)

        def wait(operation: str, name: str) -> None:
            if operation == "fdatasync":
                stuck.wait(20)

        disk.fail = wait
        receipt = asyncio.ensure_future(journal.intent(caller(), (writing(),), (ALLOW,), clock()))
        await asyncio.sleep(0.03)
        clock.forward(backlog.INTENT_WAIT / 1e9 + 1)
        assert await receipt == NotRecorded("journal_slow")
        stuck.set()
        await until(lambda: b'"status":"not_sent"' in b"".join(bytes(n.cached) for n in disk.files.values()))
        await journal.stop()

    asyncio.run(run())


def test_a_disk_that_never_answers_has_failed(tmp_path: Path) -> None:
    async def run() -> None:
        import threading

        disk, clock, stuck, alarms = Memory(), Clock(), threading.Event(), list[str]()
        journal = await started(tmp_path, clock, storage=disk, alarms=alarms)

        def wait(operation: str, name: str) -> None:
            stuck.wait(20)

        disk.fail = wait
        journal.event(RecordKind.CONFIG, {"event": "reload"}, clock())
        await until(lambda: journal._backlog.under_way)
        clock.forward(backlog.STALL / 1e9 + 1)
        await until(lambda: journal.status()["failed"])
        stuck.set()
        await journal.stop()
        assert "does not answer" in alarms[0]

    asyncio.run(run())


def test_an_intent_whose_caller_went_away_is_recorded_as_not_sent(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)
        waiting = asyncio.ensure_future(journal.intent(caller(), (writing(),), (ALLOW,), clock()))
        await asyncio.sleep(0)
        waiting.cancel()
        await until(lambda: of_kind(tmp_path, "outcome"))
        await journal.stop()

    asyncio.run(run())
    assert of_kind(tmp_path, "outcome")[0]["result"] == {
        "status": "not_sent",
        "why": "given_up",
        "latency_ms": 0.0,
    }


def test_nothing_is_promised_before_start(tmp_path: Path) -> None:
    clock = Clock()
    journal = world.journal(tmp_path, clock)
    journal.open()
    receipt = asyncio.run(journal.intent(caller(), (writing(),), (ALLOW,), clock()))
    assert receipt == NotRecorded("journal_not_running")


def test_the_key_must_be_private_and_of_the_right_kind(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def put(key: Any, mode: int) -> Path:
        path = tmp_path / "log.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(mode)
        return path

    assert Signer.load(put(world.KEY, 0o600), world.ORIGIN).vkey == Signer(world.KEY, world.ORIGIN).vkey
    with pytest.raises(JournalError, match="0600"):
        Signer.load(put(world.KEY, 0o640), world.ORIGIN)
    with pytest.raises(JournalError, match="Ed25519"):
        Signer.load(put(ec.generate_private_key(ec.SECP256R1()), 0o600), world.ORIGIN)
    with pytest.raises(JournalError, match="origin"):
        Signer(world.KEY, "two words")


def test_the_signer_refuses_what_contradicts_it() -> None:
    signer = Signer(world.KEY, world.ORIGIN)
    signer.sign(5, bytes(32))
    signer.sign(5, bytes(32))
    for size, root in ((4, bytes(32)), (5, b"x" * 32)):
        with pytest.raises(JournalError, match="contradicts"):
            signer.sign(size, root)


def test_what_cannot_be_written_down_raises_nothing_and_lets_nothing_happen(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        journal = await started(tmp_path, clock)

        def broken(*_: object) -> bytes:
            raise ValueError("no")

        journal._writer._describe = broken
        journal.denied(caller(), writing(), DENY, clock())
        journal.event(RecordKind.FINDING, {"finding": "\udc80"}, clock(), source="10.0.0.9")
        done = await journal.intent(caller(), (writing(),), (ALLOW,), clock())
        assert isinstance(done, Durable)
        journal.outcome(done, caller(), {"status": "\udc80"}, clock())
        refused = await journal.intent(caller(), (reading(), writing()), (READ_OK, ALLOW), clock())
        assert refused == NotRecorded("record_not_made")
        await journal.stop()

    asyncio.run(run())
    assert of_kind(tmp_path, "denial")[0]["why"]["input"] is None
    assert of_kind(tmp_path, "finding")[0]["note"] == {"finding": "'\\udc80'"}
    assert of_kind(tmp_path, "outcome")[0]["result"] == {"status": "'\\udc80'", "latency_ms": 0.0}


def test_a_burst_is_signed_before_the_time_for_it_has_come(tmp_path: Path) -> None:
    async def burst() -> None:
        journal = await started(tmp_path, Clock(), checkpoint_s=3600.0)
        signed = journal.status()["signed_size"]
        for number in range(MOST_UNCOVERED):
            record = b'{"number":%d}' % number
            await until(lambda record=record: journal._offer(record))  # type: ignore[misc]
        await until(lambda: journal.status()["signed_size"] >= signed + MOST_UNCOVERED)
        await journal.stop()

    asyncio.run(burst())
