"""Checkpoints off the box: to where root on this machine cannot rewrite what was seen.

The log's own checkpoints show that nothing signed was changed. They cannot show that the whole folder, with
its checkpoints, is yesterday's copy. A receiver that saw more than this log has, can.

Rules that hold here:
- With a receiver configured nothing is signed at start until every one of them has answered that this log
  is the one it knows. Records are written meanwhile; writes to the plant wait, unless configured otherwise.
- A log that a receiver contradicts is not signed any more, now or at the next start, and no write happens.
- While it runs, a receiver that is silent alarms and stops nothing: what it has not seen yet is what a
  rollback could take away unseen.
- Each receiver is asked on a thread of its own, one question at a time: one that does not come back holds up
  neither the others, nor a stop, nor the end of the process.
- The topic is told and never asked: whoever may publish there may overwrite it.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.audit.note import Checkpoint
from gateway.audit.proof import Hashes, Read
from gateway.audit.signer import Hold, Signer
from gateway.export.receivers import Contradicted, Prove, Receiver
from gateway.model.errors import GatewayError, JournalError

log = logging.getLogger(__name__)

RETRY_S = 1.0
"Between two tries while nothing is signed."
LINGER_S = 5.0
"How long a round waits for those that it asked; who takes longer is heard in a later one."
SILENT_S = 20.0
"Who has not come back by then is told as silent; over HTTPS every receiver has (`receivers.OFFER_S`)."
STOP_S = 3.0
"How long telling the last checkpoint may take."
UNCONFIRMED = "log_unconfirmed"
ROLLED_BACK = "log_rolled_back"

Alarm = Callable[[str, dict[str, Any]], None]
"A code, and what is known."


@dataclass(slots=True)
class _State:
    """What is known of one receiver."""

    receiver: Receiver
    seen: int | None = None
    "Size of the checkpoint that it has."
    trouble: str | None = None
    asked: "asyncio.Task[None] | None" = None
    "The question that it is being asked, or was last."
    since: float = 0.0
    "When (monotonic, s)."

    @property
    def busy(self) -> bool:
        """Whether it has not come back yet."""
        return self.asked is not None and not self.asked.done()


class Offbox:
    """Tells every receiver the newest checkpoint. Made before the journal opens: it holds the signer."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        *,
        signer: Signer,
        read: Read,
        every_s: float,
        writes_before_answer: bool,
        alarm: Alarm,
        publish: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        """`read` reads below the journal; `publish` puts a note on the topic, where there is one."""
        self._states = [_State(receiver) for receiver in receivers]
        self._signer = signer
        self._read = read
        self._every_s = every_s
        self._alarm = alarm
        self._publish = publish
        self._published: Checkpoint | None = None
        if receivers:
            names = ", ".join(receiver.name for receiver in receivers)
            signer.held = Hold(UNCONFIRMED, f"waiting for an answer of {names}", writes_before_answer)

    async def run(self) -> None:
        """Until cancelled, or until somebody contradicts."""
        while self._states or self._publish is not None:
            await self.tell()
            held = self._signer.held
            if held is not None and held.code == ROLLED_BACK:
                return
            await asyncio.sleep(self._every_s if held is None else min(RETRY_S, self._every_s))

    async def stop(self) -> None:
        """Tell the last checkpoint; the journal has been stopped, and signed it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                if busy := [state.asked for state in self._states if state.asked is not None and state.busy]:
                    await asyncio.wait(busy, timeout=STOP_S / 2)
                await self.tell()

    def status(self) -> dict[str, Any]:
        """For `status`: what a rollback of this machine would be noticed by."""
        held = self._signer.held
        if held is not None:
            rollback = "found" if held.code == ROLLED_BACK else "not known yet"
        else:
            rollback = "detectable" if self._states else "undetectable"
        return {
            "rollback": rollback,
            "why": held.why if held is not None else None if self._states else "no receiver is configured",
            "signing": held is None,
            "receivers": [
                {"name": state.receiver.name, "seen": state.seen, "trouble": state.trouble}
                for state in self._states
            ],
        }

    async def tell(self) -> None:
        """One round: everybody who has not the newest checkpoint."""
        checkpoint, note = self._signer.newest()
        asked: list[asyncio.Task[None]] = []
        for state in self._states:
            if state.busy:
                if time.monotonic() - state.since > SILENT_S:
                    self._silent(state, "no answer, and it does not come back")
            elif state.seen != checkpoint.size:
                prove = self._proving(checkpoint.size)
                state.since = time.monotonic()
                offer = self._offer(state, checkpoint, note, prove)
                state.asked = asyncio.create_task(offer)  # noqa: TID251 # the state holds it
                asked.append(state.asked)
        if asked:
            done, _ = await asyncio.wait(asked, timeout=LINGER_S)
            for task in done:
                task.result()
        held = self._signer.held
        if held is not None and held.code == UNCONFIRMED and all(s.seen is not None for s in self._states):
            log.info("all receivers know this log: signing")
            self._signer.held = None
        if self._publish is not None and self._signer.held is None and checkpoint != self._published:
            with contextlib.suppress(GatewayError):
                await self._publish(note)
                self._published = checkpoint

    def _proving(self, size: int) -> Prove:
        hashes = Hashes(self._read, size)
        return lambda old: hashes.consistency(old)

    async def _offer(self, state: _State, checkpoint: Checkpoint, note: bytes, prove: Prove) -> None:
        try:
            await _threaded(lambda: state.receiver.offer(checkpoint, note, prove))
        except Contradicted as error:
            state.trouble = str(error)
            self._signer.held = Hold(ROLLED_BACK, str(error), writes=False)
            self._alarm(ROLLED_BACK, {"why": str(error), "receiver": state.receiver.name})
        except (GatewayError, OSError, JournalError) as error:
            self._silent(state, str(error))
        else:
            if state.trouble is not None:
                log.info("%s answers again", state.receiver.name)
            state.seen, state.trouble = checkpoint.size, None

    def _silent(self, state: _State, why: str) -> None:
        """Told once, until it answers again."""
        if state.trouble is None:
            self._alarm("checkpoint_receiver_silent", {"why": why, "receiver": state.receiver.name})
        state.trouble = why


async def _threaded(call: Callable[[], None]) -> None:
    """Run what blocks on a thread of its own. One of the loop's pool would be waited for at the end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if ended.done():  # nobody waits any more
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            call()
        except Exception as raised:  # noqa: BLE001 # it is raised where it is waited for
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name="checkpoints", daemon=True).start()
    await ended
