"""One session of the collector with an OPC UA server, from its first question to its end.

Rules that hold here:
- Everything is asked through the passage, as the gateway itself. What policy denies is bad `denied`, what the
  server does not make is bad with the server's status; neither keeps the others from being watched.
- One Publish is in flight, and nobody waits for a slow reader of values.
- Where there is doubt (a message missing, an answer that cannot be read, a subscription that is not ours) the
  whole session ends and another is made. Subscriptions that are nursed along have been seen to stay silent
  for good while their client reported a connection.
"""

from collections.abc import Callable, Iterable, Sequence

from gateway.model.asset import Tag
from gateway.model.decision import Why
from gateway.model.moment import SECOND, Now
from gateway.model.sample import Quality
from gateway.publish.opcua_endings import Ended, doubt, wrong
from gateway.publish.opcua_items import MILLISECOND, Items, Pace, Watched, bad, pace, refused, watched
from gateway.publish.ports import Away, Count, Server, Session
from gateway.publish.values import Values
from gateway.wire.opcua import asking
from gateway.wire.opcua.answer import ServiceAnswer
from gateway.wire.opcua.binary import DOUBLE, U32
from gateway.wire.opcua.codes import BAD
from gateway.wire.opcua.nodeid import prefixes
from gateway.wire.opcua.notifications import Published, read_published
from gateway.wire.opcua.status import Status
from gateway.wire.opcua.values import ns_ticks

MOST_AT_ONCE = 500
"Items in one request; halved for servers that say it is too many."
SETTING_UP_S = 15.0
"How long each step may take until values come, at least: connecting, subscribing, a batch of items."
SETTING_UP_ANSWERS = 10
"… and in times that the asset has for one request: a session needs six of them."
REFUSED_AGAIN_S = 30.0
"How long until items are asked for again that the server did not make: a PLC fills its address space slowly."


class Talk:
    """One session; `run` is its life."""

    def __init__(
        self,
        tags: Sequence[Tag],
        publishing_ms: int,
        timeout_ms: int,
        *,
        server: Server,
        values: Values,
        clock: Callable[[], Now],
        count: Count,
        heard: Callable[[], None],
    ) -> None:
        """`heard` is told of each message of the subscription."""
        self.tags = tuple(tags)
        self.items: Items | None = None
        self.denied: dict[int, Watched] = {}
        self.refused: dict[int, Watched] = {}
        self.deadline_ns = 0
        "When it counts as dead, unless something is heard (monotonic)."
        self.refused_again_ns = 0
        self._wanted: dict[int, Watched] = {}
        self._pace = pace(publishing_ms, tags)
        self._timeout_ns = timeout_ms * MILLISECOND
        self._server = server
        self._values = values
        self._clock = clock
        self._count = count
        self._heard = heard
        self._session: Session | None = None
        self._subscription = 0
        self._at_once = MOST_AT_ONCE
        self._handle = 0
        self._why = ""
        self._listening = False
        self._give()

    async def run(self) -> Ended:
        """Subscribe and listen, until it is over."""
        session = await self._server.open(self._closed)
        if isinstance(session, Away):
            return Ended(session.reason, session.why)
        self._session = session
        try:
            return await self._subscribe(session) or await self._listen(session)
        finally:
            session.close()

    async def fits(self) -> bool:
        """Whether policy would let exactly those items be made that are there. What it denies now is bad."""
        session = self._session
        if session is None or self.items is None:
            return False
        if not all(await session.allowed(self._ask_subscription())):
            self._values.update(bad(self.items.drop(list(self.items.watched)), "denied"), self._clock())
            return False
        allowed: set[int] = set()
        for some in _batches(list(self._wanted.items()), MOST_AT_ONCE):
            body = self._ask_items([each for _, each in some])
            judged = await session.allowed(body)
            allowed.update(handle for (handle, _), yes in zip(some, judged, strict=True) if yes)
        gone = self.items.drop(set(self.items.watched) - allowed)
        self._values.update(bad(gone, "denied"), self._clock())
        return allowed == set(self._wanted) - set(self.denied)

    async def again(self) -> Ended | None:
        """Ask once more for what the server did not make."""
        missing, self.refused = self.refused, {}
        return await self._make(missing)

    # subscribing ---------------------------------------------------------------------------------

    async def _subscribe(self, session: Session) -> Ended | None:
        self._give()
        self._wanted, lost = watched(self.tags, session.namespaces)
        self._values.update(bad(lost, "unknown_namespace"), self._clock())
        if not self._wanted:
            return Ended("unknown_namespace", "the server has none of the namespaces that tags name")
        answer = await session.ask(self._ask_subscription())
        if (ended := wrong(answer, "CreateSubscription")) is not None:
            return ended
        assert isinstance(answer, ServiceAnswer)  # noqa: S101 # `wrong` said so
        at = answer.start
        (self._subscription,), (interval,) = U32(answer.body, at), DOUBLE(answer.body, at + 4)
        (lifetime,), (keep_alive,) = U32(answer.body, at + 12), U32(answer.body, at + 16)
        if not 0 < interval < 1e9:
            return Ended("wrong_answer", f"a publishing interval of {interval} ms")
        self.items = Items({}, Pace(interval, lifetime, keep_alive), session.namespaces)
        return await self._make(self._wanted)

    async def _make(self, wanted: dict[int, Watched]) -> Ended | None:
        """Have these monitored. Ended only where that says something about the server as a whole."""
        left = list(wanted.items())
        while left:
            some, left = left[: self._at_once], left[self._at_once :]
            if not self._listening:
                self._give()
            assert self._session is not None  # noqa: S101 # it is open while items are made
            answer = await self._session.ask(self._ask_items([each for _, each in some]))
            if answer is Why.DENIED:
                self._deny(some)
                continue
            too_many = isinstance(answer, ServiceAnswer) and answer.status == Status.TOO_MANY_OPERATIONS
            if too_many and self._at_once > 1:
                self._at_once //= 2
                left = some + left
                continue
            if (ended := wrong(answer, "CreateMonitoredItems")) is not None:
                return ended
            assert isinstance(answer, ServiceAnswer)  # noqa: S101 # `wrong` said so
            self._made(some, answer)
        self.refused_again_ns = self._clock().mono_ns + int(REFUSED_AGAIN_S * SECOND)
        return None

    def _made(self, some: list[tuple[int, Watched]], answer: ServiceAnswer) -> None:
        """Sort out what became of each item."""
        assert self.items is not None  # noqa: S101 # the subscription is there before its items
        kept, waiting = answer.outbound.kept, []
        self._deny([each for at, each in enumerate(some) if at not in set(kept)])
        now = self._clock()
        for at, place in enumerate(kept):
            handle, each = some[place]
            status = answer.statuses[at]
            if status & BAD:
                self.refused[handle] = each
                self._values.update(bad([each.tag], refused(status)), now)
                continue
            (sampling_ms,) = DOUBLE(answer.body, answer.borders[at] + 8)
            if 0 < sampling_ms < 1e9:
                self.items.sampling_ms = max(self.items.sampling_ms, sampling_ms)
            self.items.watched[handle] = each
            sample = self._values.sample(each.tag.name)
            if sample is not None and sample.quality is Quality.BAD:
                waiting.append(each.tag)
        self._values.update(bad(waiting, "waiting"), now)

    def _deny(self, some: Iterable[tuple[int, Watched]]) -> None:
        denied = dict(some)
        self.denied.update(denied)
        self._values.update(bad([each.tag for each in denied.values()], "denied"), self._clock())

    def _ask_subscription(self) -> bytes:
        how = self._pace
        return asking.create_subscription(
            how.publishing_ms,
            self._next(),
            ns_ticks(self._clock().wall_ns),
            lifetime=how.lifetime,
            keep_alive=how.keep_alive,
        )

    def _ask_items(self, some: list[Watched]) -> bytes:
        items = [each.item for each in some]
        return asking.create_items(self._subscription, items, self._next(), ns_ticks(self._clock().wall_ns))

    # listening -----------------------------------------------------------------------------------

    async def _listen(self, session: Session) -> Ended:
        assert self.items is not None  # noqa: S101 # subscribing went before
        begins = prefixes(self.items.namespaces)
        self._listening = True
        self._alive(self._clock())
        acknowledged: list[tuple[int, int]] = []
        last, busy = 0, False
        while True:
            body = asking.publish(acknowledged, self._next(), ns_ticks(self._clock().wall_ns))
            answer = await session.ask(body)
            if answer is Why.BUSY and not busy:
                busy = True  # a permit that died with its bundle; in doubt, the watchdog knows
                continue
            if (ended := wrong(answer, "Publish", self._why)) is not None:
                return ended
            busy = False
            assert isinstance(answer, ServiceAnswer)  # noqa: S101 # `wrong` said so
            said = read_published(answer, begins)
            if not isinstance(said, Published):
                return Ended("wrong_answer", said.what)
            if (ended := doubt(said, self._subscription, last)) is not None:
                return ended
            acknowledged = []
            if not said.keep_alive:
                last = said.sequence
                acknowledged = [(self._subscription, last)]
            self._take(said, self.items, self._clock())

    def _take(self, said: Published, items: Items, now: Now) -> None:
        self._count("opcua_messages")
        readings = items.readings(said.changes, now)
        if readings:
            self._values.update(readings, now)
        if not said.more:
            names, until_ns = items.unchanged(readings, now)
            self._values.confirm(names, until_ns, now)
        self._alive(now)
        self._heard()

    def _alive(self, now: Now) -> None:
        """The next message must come in time."""
        assert self.items is not None  # noqa: S101 # there is a subscription
        rhythm = self.items.pace
        patience = rhythm.silence_ns + int(rhythm.publishing_ms * MILLISECOND) + self._timeout_ns
        self.deadline_ns = now.mono_ns + patience

    def _give(self) -> None:
        step_ns = max(int(SETTING_UP_S * SECOND), SETTING_UP_ANSWERS * self._timeout_ns)
        self.deadline_ns = self._clock().mono_ns + step_ns

    def _closed(self, why: str) -> None:
        self._why = why

    def _next(self) -> int:
        self._handle += 1
        return self._handle


def _batches(items: list[tuple[int, Watched]], most: int) -> Iterable[list[tuple[int, Watched]]]:
    return (items[at : at + most] for at in range(0, len(items), most))
