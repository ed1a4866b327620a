"""What one destination may be told about each tag, and the record of what it was not told.

A withheld value is recorded when its reasons change, not each time it is looked at: a sensor that stays out
of range for a year makes one record, and one more when it comes back and leaves again.
"""

from gateway.guard.passage import Door
from gateway.guard.release import vet
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.model.sample import Released, Withheld
from gateway.publish.ports import Count
from gateway.publish.values import Values


class Vetting:
    """Vets for one destination in one zone."""

    def __init__(
        self, values: Values, *, sink: str, zone: str, door: Door, caller: Caller, count: Count
    ) -> None:
        """`sink` is the destination's name in records; `caller` is the gateway itself."""
        self._values = values
        self._sink = sink
        self._zone = zone
        self._door = door
        self._caller = caller
        self._count = count
        self._withheld: dict[str, tuple[str, ...]] = {}
        "Reasons last recorded; bounded by the tag list."

    def released(self, name: str, now: Now) -> Released | None:
        """What may be said about a tag, or None: then not even that it exists."""
        sample = self._values.sample(name)
        if sample is None:
            self._withheld.pop(name, None)
            return None
        vetted = vet(sample, self._values.tags.get(name), self._zone, now)
        if isinstance(vetted, Withheld):
            self._note(name, vetted, now)
            return vetted.instead
        self._withheld.pop(name, None)
        return vetted

    def _note(self, name: str, withheld: Withheld, now: Now) -> None:
        self._count("values_withheld")
        if self._withheld.get(name) != withheld.reasons:
            self._withheld[name] = withheld.reasons
            note = {"tag": name, "reasons": list(withheld.reasons), "sink": self._sink}
            self._door.journal.event(RecordKind.WITHHELD, note, now, caller=self._caller)
