"""Which asset a request is addressed to, what its tags are, and what they were last seen to be.

With a configuration: the asset whose endpoint and unit these are (a capture from the plant side), else the
one to which a listener maps the unit (a capture from the clients' side). Without: each unit is an asset by
itself, without tags.
"""

from collections.abc import Sequence

from gateway.config.settings import Settings
from gateway.model.asset import Asset, Span, Speaks
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.modbus import points
from gateway.wire.modbus.checks import Reading
from gateway.wire.modbus.frames import Answer, ReadSpan
from gateway.wire.modbus.functions import FUNCTIONS, Request
from gateway.wire.modbus.meaning import Place


def moment(time_ns: int) -> Now:
    """The capture's time as both clocks."""
    return Now(time_ns, time_ns, True, time_ns)


class Plant:
    """The assets of a capture."""

    def __init__(self, settings: Settings | None) -> None:
        self.known = settings is not None
        "Whether a configuration says which assets there are."
        assets = [a for a in settings.assets if a.protocol is Speaks.MODBUS] if settings is not None else ()
        tags = settings.tags if settings is not None else ()
        self.tags = {tag.name: tag for tag in tags}
        places = {a.name: Place(a, [tag for tag in tags if tag.asset == a.name]) for a in assets}
        self._by_endpoint = {(a.host, a.port, a.unit): places[a.name] for a in assets}
        self._by_unit: dict[int, Place] = {}
        self.zones: dict[int, tuple[str, str]] = {}
        "Listener and zone by unit."
        for listener in settings.listeners if settings is not None else ():
            for unit, name in listener.units.items():
                if name in places:
                    self._by_unit.setdefault(unit, places[name])
                    self.zones.setdefault(unit, (listener.name, listener.zone))
        self._last: dict[str, tuple[int | None, int]] = {}

    def place(self, server: str, port: int, unit: int) -> Place | None:
        """Where a request with that unit goes; None if nowhere."""
        found = self._by_endpoint.get((server, port, unit)) or self._by_unit.get(unit)
        if found is None and not self.known:
            found = self._by_unit[unit] = Place(Asset(name=f"unit-{unit}", host=server, port=port), [])
        return found

    def last(self, tag: str) -> tuple[int | None, int] | None:
        """Quanta last seen in an answer, and when."""
        return self._last.get(tag)

    def note(self, tag: str, quanta: int | None, time_ns: int) -> None:
        """An answer shows what a tag is."""
        self._last[tag] = quanta, time_ns

    def operations(self, server: str, port: int, request: Request, time_ns: int) -> Sequence[Operation]:
        """What a request wants; nothing if its unit is no asset."""
        place = self.place(server, port, request.unit)
        return () if place is None else place.operations(request, self, moment(time_ns))

    def learn(self, server: str, port: int, request: Request, answer: Reading | None, time_ns: int) -> None:
        """Keep what an answer says the tags are: a capture is as good as polling."""
        if not (self.tags and isinstance(answer, Answer) and isinstance(request, ReadSpan)):
            return
        place = self.place(server, port, request.unit)
        if place is None:
            return
        table = FUNCTIONS[request.fc].body.table
        if table is None:
            return
        span = Span(table, request.start, request.count)
        for tag in place.touched(span):
            if tag.span.start < span.start or tag.span.end > span.end:
                continue
            number = points.raw(tag, answer.data, span.start, span.table)
            if number is not None:
                self._last[tag.name] = points.quanta_of_raw(tag, number), time_ns
