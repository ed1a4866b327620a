"""The journal as the guard sees it (`guard.ports.Journal`): receipts out, records in.

Everything here runs in the event loop and never waits for the disk; `committer` does. What the loop hands
over is bounded (`backlog`). When records cannot be made durable the journal has failed for good: no write
happens any more, reads go on for a bounded time under a `Gap`, and the next start tells the gap (`gap`).
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.audit import carry
from gateway.audit.backlog import MOST_QUEUED, STALL, Backlog, Waiting
from gateway.audit.commitment import Sealer, weight
from gateway.audit.committer import Batch, Committer
from gateway.audit.entry import Describe, Units, Writer, short, who
from gateway.audit.flood import Flood, Tally, key
from gateway.audit.gap import Keeper, Lapse
from gateway.audit.log import Log
from gateway.audit.opening import Recovery, open_log
from gateway.audit.outcome import timed
from gateway.audit.signer import Signer
from gateway.audit.storage import Disk, Storage
from gateway.audit.windows import Windows
from gateway.model.decision import Allowed, Denied, Origin, Passed, Waived
from gateway.model.errors import JournalError
from gateway.model.identity import Caller
from gateway.model.moment import SECOND, Now
from gateway.model.operation import Operation
from gateway.model.record import Accepted, Durable, Gap, NotRecorded, RecordKind
from gateway.model.ulid import Ulids

MOST_UNCOVERED = 4096
"Records that may follow a checkpoint before the next, however long `checkpoint_s` is."
TICK_S = 0.010
"How often changed read entries and unhurried records are handed over; the commit takes the rest of 20 ms."
LAST_WORD = 2 * SECOND
"How long a stop waits for a disk that has failed already, and that it keeps what is known of the gap."
POLL_S = 0.002
"How often a stop looks whether the disk has answered."
RENEW = 3600 * SECOND
"How long the side file keeps what closed windows said, where something is sensitive."
VKEY = "log.vkey"
"The verifier key beside the log, for convenience; a reviewer keeps a copy elsewhere."
FLOODS = frozenset({RecordKind.AUTH, RecordKind.FINDING, RecordKind.WITHHELD})
REASON_FIELDS = ("code", "finding", "reason", "reasons", "result")
"Where a note says what happened: the first that is there makes the flood key."
TARGET_FIELDS = ("tag", "asset", "listener", "target")


class Settings(Protocol):
    """The `audit` section of the configuration, as far as the journal reads it."""

    @property
    def window_s(self) -> float:
        """Length of a read window."""

    @property
    def checkpoint_s(self) -> float:
        """Time between checkpoints."""

    @property
    def segment_bytes(self) -> int:
        """Size of a segment."""

    @property
    def reads_without_journal_s(self) -> float:
        """How long reads go on after a failure."""

    @property
    def denials_in_full(self) -> int:
        """Full records a minute for each key of the flood rule."""

    @property
    def growth_bytes_per_minute(self) -> int:
        """What denials, findings and failed handshakes may add in a minute."""


def _no_units(tag: str) -> None:
    """No tag's resolution is known."""


class Journal:
    """The log of one gateway. `open`, then `start`; `stop` at the end."""

    def __init__(
        self,
        folder: Path,
        *,
        origin: str,
        signer: Signer,
        gateway: str,
        settings: Settings,
        ulids: Ulids,
        describe: Describe,
        clock: Callable[[], Now],
        alarm: Callable[[str], None],
        units: Units = _no_units,
        sealer: Sealer | None = None,
        storage: Storage | None = None,
    ) -> None:
        if signer.verifier.name != origin:
            raise JournalError(f"the log key signs for {signer.verifier.name}, not for {origin}")
        self._storage = storage if storage is not None else Disk(folder)
        self._signer = signer
        self._settings = settings
        self._clock = clock
        self._alarm = alarm
        self._writer = Writer(gateway, ulids, describe, units, sealer)
        self._windows = Windows(self._writer, int(settings.window_s * SECOND))
        self._hot = self._windows.hot
        self._flood = Flood(settings.denials_in_full, settings.growth_bytes_per_minute)
        self._log: Log | None = None
        self._carrier: carry.Carrier | None = None
        self._committer: Committer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._backlog = Backlog()
        self._lapse = Lapse()
        self._keeper = Keeper(self._storage)
        self._closed_rows: list[bytes] = []
        self._signed_ns = self._signed_wall_ns = 0
        self._unsigned = False
        self._uncovered = 0
        "Records since the last checkpoint."
        self._low = False
        self._renewed_ns = 0

    # -- life ----------------------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Recover what an earlier run left, and write that this one starts. Raises JournalError."""
        now = self._clock()
        segment_bytes = self._settings.segment_bytes
        try:
            self._log, recovery = open_log(self._storage, self._signer, segment_bytes, self._writer, now)
            self._carrier = carry.Carrier(self._storage)
            self._storage.replace(VKEY, f"{self._signer.vkey}\n".encode())
        except OSError as error:
            raise JournalError(f"cannot open the journal: {error}") from error
        self._signed_ns, self._signed_wall_ns = now.mono_ns, now.wall_ns
        self._unsigned = self._signer.held is not None
        return recovery

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to commit and to tick."""
        if self._log is None or self._carrier is None:
            raise JournalError("open the journal before it starts")
        self._loop = loop
        self._committer = Committer(self._log, self._carrier, loop, self._landed)
        self._committer.start()
        self._timer = loop.call_later(TICK_S, self._tick)

    async def stop(self) -> None:
        """Write everything that is open, sign, and end. For a disk that does not answer it waits `STALL` at
        most to see what is under way land, as long for the rest, and `LAST_WORD` for the gap; and tells.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        committer = self._committer
        if committer is None or self._loop is None:
            return
        # What is on its way lands first: some of it may still have an outcome to tell.
        if not await self._within(STALL, lambda: not self._backlog.under_way or self._lapse.why is not None):
            self._fail("the disk does not answer", self._clock())
        now = self._clock()
        if self._lapse.why is None:
            self._windows.close_all(now)
            self._write_windows(now, force=True)
            self._backlog.unhurried += [self._suppressed(t, now) for t in self._flood.all(now.mono_ns)]
            self._tell_missed(now)
            _, data = self._writer.record(RecordKind.LIFECYCLE, now, note={"event": "stop"})
            self._backlog.unhurried.append(data)
            for part in self._windows.rows(self._closed_rows):
                self._flush(rows=part)
            self._flush(sign=True)
        committer.finish()
        ended = await self._within(
            LAST_WORD if self._lapse.why is not None else STALL, lambda: committer.ended
        )
        await asyncio.sleep(0)
        if not ended:
            committer.give_up()
            self._fail("the disk does not answer", self._clock())
        self._committer = None
        if self._lapse.why is not None:
            await self._last_word()
        if ended and self._log is not None and self._carrier is not None:
            self._log.close()  # else the thread that waits in there has the files
            self._carrier.close()

    async def _last_word(self) -> None:
        """What is known of the gap is kept beside the log: the newest of it, if the disk takes it at all."""
        free = await self._within(LAST_WORD, lambda: not self._keeper.busy)
        if free:
            self._keeper.keep(self._lapse.note(self._clock(), self._backlog.queued))
            free = await self._within(LAST_WORD, lambda: not self._keeper.busy)
        if not free:
            self._alarm("journal: the disk did not take what is known of the gap; the stop waits no longer")

    async def _within(self, most_ns: int, holds: Callable[[], bool]) -> bool:
        """Wait for that; False where it has not come about in time."""
        until_ns = self._clock().mono_ns + most_ns
        while not holds():
            if self._clock().mono_ns >= until_ns:
                return False
            await asyncio.sleep(POLL_S)
        return True

    # -- the port ------------------------------------------------------------------------------------------

    def read(
        self, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> Accepted | Gap | NotRecorded:
        """Count an allowed read into its window. The short way is two dictionary look-ups.

        It finds an entry by caller and operation, whatever was decided: so only what is plainly allowed goes
        it. What a stage waived, or the other engine decided, is looked up with its decision.
        """
        entries = self._hot.get(caller)
        if entries is not None and type(decision) is Allowed and decision.origin is not Origin.FALLBACK:
            entry = entries.get(id(operation))
            if entry is not None:
                entry.asked += 1
                entry.last_ns = now.wall_ns
                if not entry.dirty:
                    entry.dirty = True
                    entry.sheet.append(entry)
                return entry
        return self._first_read(caller, operation, decision, now)

    async def intent(
        self, caller: Caller, operations: tuple[Operation, ...], decisions: tuple[Passed, ...], now: Now
    ) -> Durable | NotRecorded:
        """Write down what is about to be done; returns when it is on stable storage, or why it is not."""
        refused = self._refusal()
        if refused is not None or self._loop is None:
            if self._lapse.why is not None:
                self._lapse.missed["intent"] += 1
            else:  # nothing happened, and nothing is lost
                self._lapse.refused[refused or "journal_not_running"] += 1
            return NotRecorded(refused or "journal_not_running")
        record, data = self._writer.intent(caller, operations, decisions, now)
        if not data:
            return NotRecorded("record_not_made")
        if not self._backlog.has_room(weight(data), kept=True):
            self._lapse.missed["intent"] += 1
            return NotRecorded("journal_queue_full")
        waiting = Waiting(record, caller, self._loop.create_future(), now)
        self._backlog.wait(waiting)
        self._flush()
        self._hand_over(Batch([data], waiting))
        return await waiting.future

    def outcome(self, intent: Durable, caller: Caller, result: dict[str, Any], now: Now) -> None:
        """What came of an intent, or was read back of it. There is always room: intents bound both."""
        if self._lapse.why is not None:
            self._lapse.missed["outcome"] += 1
            return
        _, data = self._writer.record(
            RecordKind.OUTCOME,
            now,
            who={"subject": caller.identity.subject, "source": caller.source},
            result=short(timed(result, intent.asked_ns, now.mono_ns)),
            about=intent.record,
            connection=caller.connection,
        )
        if data:
            self._backlog.unhurried.append(data)
        else:
            self._lapse.missed["outcome"] += 1

    def denied(self, caller: Caller, operation: Operation, decision: Denied | Waived, now: Now) -> None:
        """A refusal, or what would be one, in full or counted."""
        reason = decision.reasons[0].code if decision.reasons else ""
        target = (
            f"{operation.asset or ''} {operation.kind} {operation.points[0].tag if operation.points else ''}"
        )
        of = key("denial", caller.source, caller.identity.subject, reason, target)
        tally = self._flood.may_write(of, now.wall_ns, now.mono_ns)
        if tally is not None:
            _, data = self._writer.denial(caller, operation, decision, now)
            self._write_or_count(tally, data, now)

    def event(
        self,
        kind: RecordKind,
        note: dict[str, Any],
        now: Now,
        *,
        caller: Caller | None = None,
        source: str | None = None,
    ) -> None:
        """Authentication, findings, lifecycle …; `auth` and `finding` fall under the flood rule."""
        tally = None
        if kind in FLOODS:
            subject = caller.identity.subject if caller is not None else ""
            origin = caller.source if caller is not None else source or ""
            of = key(kind, origin, subject, _first(note, REASON_FIELDS), _first(note, TARGET_FIELDS))
            tally = self._flood.may_write(of, now.wall_ns, now.mono_ns)
            if tally is None:
                return
        by = who(caller) if caller is not None else {"subject": None, "source": source} if source else None
        connection = caller.connection if caller is not None else None
        _, data = self._writer.record(kind, now, who=by, note=short(note), connection=connection)
        if tally is not None:
            self._write_or_count(tally, data, now)
        elif not self._offer(data):
            self._lapse.missed[kind] += 1

    # -- what else the composition root needs ----------------------------------------------------------------

    def rotate_windows(self, now: Now) -> None:
        """Facts or bundle change: every open window ends, so that each has one of both.

        A stage that changes, or an OPA that goes away and comes back, needs none: what is waived, and what
        the other engine decided, has entries of its own (`read`).
        """
        self._windows.close_all(now)

    def forget(self) -> None:
        """The side file of open windows lets go of those that are closed; within a tick or two."""
        self._windows.renew()

    def drop(self, gone: Sequence[range]) -> int:
        """Overwrite what opens these records, for good; how many. Blocks: not for the event loop."""
        return self._log.vault.drop(gone) if self._log is not None else 0

    def status(self) -> dict[str, Any]:
        """For `dmz-gateway status` and metrics."""
        last, log = self._signer.last, self._log
        return {
            "size": log.size if log is not None else None,
            "signed_size": last.size if last is not None else None,
            "root": last.root.hex() if last is not None else None,
            "checkpoint_wall_ns": self._signed_wall_ns or None,
            "queue": self._backlog.queued,
            "queue_bytes": self._backlog.queued_bytes,
            "most_queued": MOST_QUEUED,
            "window_entries": self._windows.kept,
            "failed": self._lapse.why,
            "missed": dict(self._lapse.missed),
            "refused": dict(self._lapse.refused),
            "segment_bytes": log.used if log is not None else None,
            "free_bytes": log.free_bytes if log is not None else None,
            "disk_used": round(log.used_share, 4) if log is not None else None,
            "low_space": self._low,
            "full": log.full if log is not None else None,
            "held": held.why if (held := self._signer.held) is not None else None,
            "vkey": self._signer.vkey,
        }

    # -- inside ----------------------------------------------------------------------------------------------

    def _first_read(
        self, caller: Caller, operation: Operation, decision: Passed, now: Now
    ) -> Accepted | Gap | NotRecorded:
        if self._lapse.why is not None:
            self._lapse.missed["read"] += 1
            return self._lapse.reads(now.mono_ns) or NotRecorded("journal_failed")
        try:
            entry = self._windows.first(caller, operation, decision, now)
        except (ValueError, TypeError, msgspec.MsgspecError):
            # The question could not be described: what cannot be written down does not happen.
            return NotRecorded("record_not_made")
        if entry is None:
            self._lapse.missed["read"] += 1
            return NotRecorded("journal_windows_full")
        entry.asked += 1
        entry.last_ns = now.wall_ns
        if not entry.dirty:
            entry.dirty = True
            entry.sheet.append(entry)
        return entry

    def _refusal(self) -> str | None:
        if self._lapse.why is not None:
            return "journal_failed"
        if self._log is None or self._committer is None:
            return "journal_not_running"
        held = self._signer.held
        if held is not None and not held.writes:
            return held.code
        return "journal_disk_full" if self._log.full else None

    def _offer(self, data: bytes) -> bool:
        """Queue a record that nobody waits for; False where there is no room or no journal."""
        return self._lapse.why is None and self._backlog.offer(data)

    def _write_or_count(self, tally: Tally, data: bytes, now: Now) -> None:
        if self._flood.spend(tally, len(data), now.mono_ns) and not self._offer(data):
            self._flood.lost(tally)

    def _flush(self, *, sign: bool = False, rows: bytes = b"") -> None:
        """Hand over what was in no hurry."""
        records = self._backlog.take()
        if records or sign or rows:
            self._hand_over(Batch(records, None, rows, sign=sign))

    def _hand_over(self, batch: Batch) -> None:
        if self._committer is None:
            return
        self._backlog.handed_over(batch, self._clock().mono_ns)
        self._committer.hand_over(batch)

    def _landed(self, batches: list[Batch], failed: str | None) -> None:
        """The committer is done with these batches: the only place where intents are answered in time."""
        now = self._clock()
        self._backlog.landed(batches, now.mono_ns)
        if failed is not None:
            self._fail(failed, now)
        for batch in batches:
            if failed is not None:
                self._lapse.missed["record"] += len(batch.records)
            elif batch.records:
                self._unsigned = True
                self._uncovered += len(batch.records)
            if batch.sign and failed is None and self._signer.held is None:
                self._signed_wall_ns = now.wall_ns
            if isinstance(batch.token, Waiting):
                self._answer(batch.token, batch.first, failed, now)

    def _answer(self, waiting: Waiting, index: int, failed: str | None, now: Now) -> None:
        if failed is not None:
            waiting.answer(NotRecorded("journal_failed"))
            return
        durable = Durable(waiting.record, index, waiting.since_ns)
        if not waiting.answer(durable):
            # Nobody waits any more, so nobody will act, and nobody else will write that down.
            self.outcome(durable, waiting.caller, {"status": "not_sent", "why": "given_up"}, now)

    def _tick(self) -> None:
        """The journal's only timer."""
        if self._loop is None or self._committer is None:
            return
        now = self._clock()
        self._timer = self._loop.call_later(TICK_S, self._tick)
        if given_up := self._backlog.give_up(now.mono_ns):
            self._lapse.refused["journal_slow"] += given_up  # on its way; if it lands, so does `not_sent`
        if self._committer.ended:
            self._fail("its thread has ended", now)
        if self._backlog.stalled(now.mono_ns):
            self._fail("the disk does not answer", now)
        if self._lapse.why is not None:
            self._tell_gap(now)
            return
        for tally in self._flood.due(now.mono_ns):
            if not self._offer(self._suppressed(tally, now)):
                self._lapse.missed[tally.key.kind] += tally.counted
        self._windows.close_old(now)
        if self._writer.sealer is not None and now.mono_ns - self._renewed_ns >= RENEW:
            self._renewed_ns = now.mono_ns
            self._windows.renew()
        self._write_windows(now)
        if self._lapse.missed and self._lapse.due(now.mono_ns):
            self._tell_missed(now)
        rows = self._windows.rows(self._closed_rows)
        self._closed_rows = []
        late = now.mono_ns - self._signed_ns >= self._settings.checkpoint_s * SECOND
        sign = self._unsigned and (late or self._uncovered >= MOST_UNCOVERED)
        if sign:
            self._unsigned, self._signed_ns = self._signer.held is not None, now.mono_ns
            self._uncovered = 0
            self._watch_space()
        for part in rows:
            self._flush(rows=part)
        self._flush(sign=sign)

    def _write_windows(self, now: Now, *, force: bool = False) -> None:
        for window in self._windows.ripe(now, force=force):
            records = self._windows.records(window, now)
            if not force and not self._backlog.has_room(sum(map(weight, records))):
                self._windows.put_back(window)
                return
            self._backlog.unhurried.extend(records)
            self._closed_rows.append(self._windows.written(window))

    def _suppressed(self, tally: Tally, now: Now) -> bytes:
        """The one record for all that was only counted."""
        return self._writer.record(RecordKind.SUPPRESSED, now, who=tally.by(), note=tally.note())[1]

    def _tell_missed(self, now: Now) -> None:
        """A gap while the journal lived: a read found no room in windows, anything else none in the queue."""
        missed = self._lapse.missed
        for why, kinds in (
            ("windows_full", missed.keys() & {"read"}),
            ("queue_full", missed.keys() - {"read"}),
        ):
            if not kinds:
                continue
            note = {"why": why, "missed": {kind: missed[kind] for kind in sorted(kinds)}}
            _, data = self._writer.record(RecordKind.GAP, now, note=note)
            if self._offer(data):
                for kind in kinds:
                    del missed[kind]

    def _watch_space(self) -> None:
        log = self._log
        low = log is not None and log.low
        if low and not self._low and log is not None:
            self._alarm(
                f"journal: its disk is {log.used_share:.0%} full, {log.free_bytes} bytes are left; "
                f"writes are denied below {log.kept_free}"
            )
        self._low = low

    def _fail(self, why: str, now: Now) -> None:
        """From here on nothing is promised."""
        if self._lapse.why is not None:
            return
        self._lapse.begin(why, now, self._settings.reads_without_journal_s)
        self._hot.clear()
        self._lapse.missed["record"] += self._backlog.fail()
        self._alarm(f"journal failed: {why}; no writes until the gateway is started again")

    def _tell_gap(self, now: Now) -> None:
        """Keep what is known of the gap beside the log, for the next start."""
        if not self._keeper.busy and self._lapse.due(now.mono_ns):
            self._keeper.keep(self._lapse.note(now, self._backlog.queued))


def _first(note: dict[str, Any], fields: tuple[str, ...]) -> str:
    return next((str(note[field]) for field in fields if note.get(field)), "")
