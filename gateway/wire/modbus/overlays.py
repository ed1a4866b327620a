"""Tables that overlay each other: what else a request reaches, under its other names.

AP §4.3 allows all four tables to lie in the same memory, "and very common" it is. A rule about holding
registers then does not protect them from somebody who writes them as coils. Where an asset declares its
overlays, a request becomes an operation for each name of what it touches, and policy must allow them all.

Everything is counted in bits of the device's memory: word w begins at bit 16 w, and a register's least
significant bit comes first. A run of coils covers some bits of a register; whole registers among them are
written with values, the others with masks, as FC 22 would.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from gateway.model.asset import Span, Table, Window
from gateway.wire.modbus.effects import Data, Effect, Mask
from gateway.wire.modbus.points import BITS

WORD = 16
"Bits of a register."
FULL = 0xFFFF


class Overlays:
    """The windows of one asset."""

    __slots__ = ("_windows",)

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = tuple(windows)

    def spans(self, span: Span) -> list[Span]:
        """The other names of a span, in the order of the windows; a register counts if one bit is in it."""
        found = []
        for first, last in self._memory(span):
            for window in self._windows:
                there = _inside(window, first, last)
                if there is not None and there not in found and not _within(there, span):
                    found.append(there)
        return found

    def effects(self, effect: Effect) -> list[Effect]:
        """What else a write does, under other names than its own."""
        memory: dict[int, int] = {}
        for at, value in _bits(effect):
            for window in self._windows:
                bit = _to_memory(window, effect.span.table, at)
                if bit is not None:
                    memory[bit] = value
        found: list[Effect] = []
        for window in self._windows:
            bits = {
                address: value
                for bit, value in memory.items()
                if (address := _from_memory(window, bit)) is not None
            }
            found += [each for each in _gathered(window.table, bits) if not _within(each.span, effect.span)]
        return list(dict.fromkeys(found))

    def _memory(self, span: Span) -> Iterator[tuple[int, int]]:
        """First bit and the one behind the last, for each window that the span meets."""
        scale = _scale(span.table)
        for window in self._windows:
            if window.table is span.table:
                first, end = max(span.start, window.start), min(span.end, window.start + window.count)
                if first < end:
                    origin = window.word * WORD - window.start * scale
                    yield origin + first * scale, origin + end * scale


def _scale(table: Table) -> int:
    return 1 if table in BITS else WORD


def _within(there: Span, span: Span) -> bool:
    return there.table is span.table and span.start <= there.start and there.end <= span.end


def _inside(window: Window, first: int, end: int) -> Span | None:
    """Which addresses of a window hold some of these bits of memory."""
    scale = _scale(window.table)
    start = window.start + max(0, first - window.word * WORD) // scale
    behind = window.start + min(window.count, -(-(end - window.word * WORD) // scale))
    return Span(window.table, start, behind - start) if start < behind else None


def _to_memory(window: Window, table: Table, address: int) -> int | None:
    """Where in memory a bit of a table is (registers: address × 16 + bit)."""
    at = address - window.start * _scale(table)
    if window.table is not table or not 0 <= at < window.count * _scale(table):
        return None
    return window.word * WORD + at


def _from_memory(window: Window, bit: int) -> int | None:
    """The same, back."""
    at = bit - window.word * WORD
    scale = _scale(window.table)
    return window.start * scale + at if 0 <= at < window.count * scale else None


def _bits(effect: Effect) -> Iterator[tuple[int, int]]:
    """The bits that a write sets, and to what."""
    first = effect.span.start * _scale(effect.span.table)
    if isinstance(effect, Mask):
        for bit in range(WORD):
            if not effect.and_mask >> bit & 1:
                yield first + bit, effect.or_mask >> bit & 1
        return
    width = _scale(effect.span.table)
    for at, value in enumerate(effect.values):
        for bit in range(width):
            yield first + at * width + bit, value >> bit & 1


def _gathered(table: Table, bits: dict[int, int]) -> Iterator[Effect]:
    """Bits of one table as few effects as say exactly the same."""
    if table in BITS:
        for run in _runs(sorted(bits)):
            yield _coils(table, run[0], [bits[address] for address in run])
        return
    whole: dict[int, int] = {}
    for register, members in groupby(sorted(bits), key=lambda address: address // WORD):
        mask = word = 0
        for address in members:
            mask |= 1 << address % WORD
            word |= bits[address] << address % WORD
        if mask == FULL:
            whole[register] = word
        else:
            yield Mask(Span(table, register, 1), FULL ^ mask, word)
    for run in _runs(whole):
        data = b"".join([whole[register].to_bytes(2, "big") for register in run])
        yield Data(Span(table, run[0], len(run)), data)


def _coils(table: Table, start: int, values: list[int]) -> Data:
    packed = sum([value << at for at, value in enumerate(values)])
    return Data(Span(table, start, len(values)), packed.to_bytes((len(values) + 7) // 8, "little"))


def _runs(addresses: Iterable[int]) -> Iterator[list[int]]:
    """Neighbours together."""
    for _, run in groupby(enumerate(addresses), key=lambda pair: pair[1] - pair[0]):
        yield [address for _, address in run]
