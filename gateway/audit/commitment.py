"""Commitments: what stands in a record for members that can be dropped later, and what opens them. Pure.

The stored leaf holds `"committed":{"of":[names],"sha256":hex}` in the place of those members, so whatever is
dropped, no leaf hash, tile, proof or checkpoint ever changes. The opening is a salt and the members as JSON:

    sha256 = SHA-256("dmz.commitment/1\\n" ‖ salt (32) ‖ length (8) ‖ JSON)

It hides: 32 random bytes cannot be guessed, however few values there are. It binds: another value, or another
salt, has another hash. It is no leaf and no node of the tree: those are hashes of what begins with 0 or 1.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, Self

import msgspec

from gateway.audit.places import COMMITTED, DIGEST, NOTE_KEPT, OPERATIVE, RESULT_KEPT, Way, way
from gateway.model.sensitive import Sensitive

DOMAIN = b"dmz.commitment/1\n"
SALT = 32
"Bytes of a salt."
MARK = b'"committed":{'
"In every record that holds a commitment; no text of a record can hold it, since quotes are escaped there."
DROPPED = "(dropped)"
WRONG = "(the opening is wrong: run audit verify)"
LISTS = frozenset({"by"})
"Members that are lists of texts."
NUMBERS = frozenset(
    {"q", "q_prev", "value", "value_prev", "values", "and_mask", "or_mask", "arguments"}
    | {"q_written", "q_read", "cert", "sha256"}
)
"Members that no text can stand for."
Dice = Callable[[int], bytes]
"So many random bytes."
Told = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_openings = msgspec.json.Decoder(list[tuple[str, str]])
_members = msgspec.json.Decoder(dict[str, Any])


def commit(salt: bytes, value: bytes) -> str:
    """The commitment to a value, hex."""
    return sha256(DOMAIN + salt + len(value).to_bytes(8, "big") + value).hexdigest()


class Sealed(bytes):
    """A record that holds commitments, and beside it what opens them: that must be durable first."""

    opening: bytes
    wall_ns: int

    def __new__(cls, data: bytes, opening: bytes, wall_ns: int) -> Self:
        """The stored bytes, the opening of all of them, and when the record was made."""
        made = super().__new__(cls, data)
        made.opening, made.wall_ns = opening, wall_ns
        return made


def weight(record: bytes) -> int:
    """Bytes that are on their way to the disk with a record."""
    return len(record) + (len(record.opening) if isinstance(record, Sealed) else 0)


class Sealer:
    """Takes out of records what is to be kept by commitment."""

    def __init__(self, groups: Iterable[Sensitive], dice: Dice) -> None:
        self._way = way(frozenset(groups))
        self._dice = dice

    def __bool__(self) -> bool:
        return bool(self._way.inner)

    def seal(self, data: bytes, wall_ns: int) -> bytes:
        """The record with commitments; as it is where nothing in it is sensitive."""
        record = _members.decode(data)
        found: list[tuple[str, str]] = []
        for name, kept in (("note", NOTE_KEPT), ("result", RESULT_KEPT)):
            part = record.get(name)
            if isinstance(part, dict) and (name != "note" or record["kind"] not in OPERATIVE):
                self._take(part, [member for member in part if member not in kept], found)
        self._walk(self._way, record, found)
        return Sealed(_encode(record), _encode(found), wall_ns) if found else data

    def _walk(self, at: Way, value: Any, found: list[tuple[str, str]]) -> None:
        if isinstance(value, list):
            if at.each is not None:
                for each in value:
                    self._walk(at.each, each, found)
        elif isinstance(value, dict):
            if value.keys() == DIGEST:
                self._take(value, ("sha256",), found)
            self._take(value, at.chosen(value), found)
            for name, inner in at.inner.items():
                if value.get(name):
                    self._walk(inner, value[name], found)

    def _take(self, part: Told, names: Iterable[str], found: list[tuple[str, str]]) -> None:
        """Those of its members that say something, out of it and committed to together."""
        taken = {name: part[name] for name in names if part.get(name) not in (None, "", [])}
        if not taken:
            return
        for name in taken:
            del part[name]
        salt, value = self._dice(SALT), _encode(taken)
        found.append((salt.hex(), value.decode()))
        part[COMMITTED] = {"of": [*taken], "sha256": commit(salt, value)}


class Opened:
    """A record with its members back, as far as its opening is there and right."""

    def __init__(self, record: Told, opening: bytes | None) -> None:
        self.record = record
        self.left: list[Told] = []
        "Objects whose commitment nobody opened; it still stands in them."
        self.wrong = 0
        "Openings that open nothing here, or something else than was committed to."
        held = dict(self._held(opening))
        for part in _committed(record):
            promise = part[COMMITTED]
            value = held.pop(str(promise.get("sha256")), None)
            if value is not None and set(value) == set(_names(promise)):
                del part[COMMITTED]
                part.update(value)
            else:
                self.left.append(part)
                self.wrong += value is not None
        self.wrong += len(held)

    def _held(self, opening: bytes | None) -> Iterator[tuple[str, Told]]:
        if opening is None:
            return
        try:
            for salt, value in _openings.decode(opening):
                yield commit(bytes.fromhex(salt), value.encode()), _members.decode(value)
        except (ValueError, msgspec.MsgspecError):
            self.wrong += 1

    def told(self) -> Told:
        """The record for people: what cannot be had any more says so, where a text can stand."""
        for part in self.left:
            text = WRONG if self.wrong else DROPPED
            for name in _names(part[COMMITTED]):
                if name not in NUMBERS:
                    part[name] = [text] if name in LISTS else text
        return self.record


def _committed(value: Any) -> Iterator[Told]:
    """Every object that holds a commitment; changed while it goes, so the inner ones first."""
    if isinstance(value, list):
        for each in value:
            yield from _committed(each)
    elif isinstance(value, dict):
        for name in [*value]:
            if name != COMMITTED:
                yield from _committed(value[name])
        if isinstance(value.get(COMMITTED), dict):
            yield value


def is_dropped(part: Told, *names: str) -> bool:
    """Whether one of those members was committed to, and cannot be opened."""
    promise = part.get(COMMITTED)
    return isinstance(promise, dict) and not set(names).isdisjoint(_names(promise))


def _names(promise: Told) -> list[str]:
    """The members that a commitment is to; a record that somebody changed may say anything."""
    of = promise.get("of")
    return [each for each in of if isinstance(each, str)] if isinstance(of, list) else []
