"""THE TABLE of what can be kept by commitment: which members of which objects of a record belong to a group.

A path leads through members and, with `*`, through lists. `also` is not named: the other operations of a
frame are sealed as the first is. Null and empty members stay: they say that there is nothing.
"""

from msgspec import Struct

from gateway.model.identity import names_person
from gateway.model.record import RecordKind
from gateway.model.sensitive import Sensitive

COMMITTED = "committed"
"The member that stands for those that were taken out of its object."
QUESTIONS = ("why.input", "what.entries.*.input")
"Where policy questions lie; both hold the same places."
PEOPLE, SUBJECTS = Sensitive.PEOPLE, Sensitive.SUBJECTS
ADDRESSES, VALUES, TEXTS = Sensitive.ADDRESSES, Sensitive.VALUES, Sensitive.TEXTS


class Place(Struct, frozen=True):
    """Members of one object that belong to a group."""

    path: str
    group: Sensitive
    members: tuple[str, ...]
    subject: str = ""
    "The member that names whose the others are: in `people` they count only where that is a person."


IN_QUESTION = (
    Place("subject", PEOPLE, ("on_behalf_of",)),
    Place("subject", SUBJECTS, ("id", "cert"), subject="id"),
    Place("conn", ADDRESSES, ("src",)),
    Place("points.*", VALUES, ("q", "q_prev")),
    Place("modbus", VALUES, ("values", "and_mask", "or_mask")),
    Place("opcua", VALUES, ("value", "arguments")),
    Place("admin", PEOPLE, ("subject",)),
    Place("admin", TEXTS, ("value",)),
    Place("state.approval", PEOPLE, ("by",)),
)
"Of `dmz.input/1`."
PLACES = (
    Place("who", PEOPLE, ("on_behalf_of",)),
    Place("who", SUBJECTS, ("subject", "fingerprint", "serial"), subject="subject"),
    Place("who", ADDRESSES, ("source",)),
    Place("what.points.*", VALUES, ("q", "q_prev", "value", "value_prev")),
    Place("what.modbus", VALUES, ("values", "and_mask", "or_mask")),
    Place("what.opcua", VALUES, ("value", "arguments")),
    Place("what.admin", PEOPLE, ("subject",)),
    Place("what.admin", TEXTS, ("value",)),
    Place("what.entries.*", VALUES, ("values",)),
    Place("what.entries.*.reasons.*", TEXTS, ("msg",)),
    Place("why.approval", PEOPLE, ("by",)),
    Place("why.reasons.*", TEXTS, ("msg",)),
    Place("result.readback.points.*", VALUES, ("q_written", "q_read")),
    *(
        Place(f"{question}.{each.path}", each.group, each.members, each.subject)
        for question in QUESTIONS
        for each in IN_QUESTION
    ),
)
"Of `dmz.record/1`."
OPERATIVE = frozenset({RecordKind.LIFECYCLE, RecordKind.GAP, RecordKind.SUPPRESSED, RecordKind.WINDOW})
"Kinds whose note recovery and verifiers read, and people do not write: it stays."
NOTE_KEPT = frozenset(
    {"event", "result", "code", "finding", "reason", "reasons", "severity", "side", "listener", "tls", "tag"}
    | {"asset", "sink", "alarm", "revision", "request", "id", "intent", "zone", "version", "within_s"}
)
"Members of other notes that are words of the gateway's own. All others are texts."
RESULT_KEPT = frozenset({"status", "code", "why", "latency_ms", "readback"})
DIGEST = frozenset({"sha256", "length"})
"What stands for a long value. Who guesses the value can confirm it by its hash, so the hash is kept like it."


class Way:
    """Where to go from an object or a list: only to what can hold something sensitive."""

    __slots__ = ("each", "inner", "places", "whole")

    def __init__(self) -> None:
        self.inner: dict[str, Way] = {}
        "By member."
        self.each: Way | None = None
        "Of the elements of a list."
        self.whole: tuple[str, ...] = ()
        "Members that are committed to, whatever they are."
        self.places: tuple[Place, ...] = ()
        "Those whose members are committed to only where their subject is a person."

    def step(self, name: str) -> "Way":
        """The way through that member, or with `*` into a list."""
        if name == "*":
            self.each = self.each or Way()
            return self.each
        return self.inner.setdefault(name, Way())

    def chosen(self, found: dict[str, object]) -> tuple[str, ...]:
        """Members of an object that are to be committed to."""
        if not self.places:
            return self.whole
        persons = [place for place in self.places if is_person(found.get(place.subject))]
        return (*self.whole, *(member for place in persons for member in place.members))


def way(groups: frozenset[Sensitive]) -> Way:
    """The table for these groups, from the record on. Texts count with any of them, people with subjects."""
    top = Way()
    wanted = groups | {TEXTS} if groups else groups
    if SUBJECTS in wanted:
        wanted |= {PEOPLE}
    for place in PLACES:
        persons = place.subject != "" and PEOPLE in wanted
        if place.group in wanted or persons:
            at = top
            for name in place.path.split("."):
                at = at.step(name)
            if place.group in wanted:
                at.whole += place.members
            else:
                at.places += (place,)
    for name in ("what", "why") if groups else ():
        top.inner[name].step("also").each = top.inner[name]
    return top


def is_person(subject: object) -> bool:
    """Whether a subject is a person's, or a Unix user's."""
    return isinstance(subject, str) and (names_person(subject) or subject.startswith("local:"))
