"""What a write does: to addresses, to what overlays them, and to the tags that lie there.

An effect says which registers or coils get which bits. Most writes give whole values (`data`); a mask write
(FC 22) changes some bits of one register, and so does a write that reaches a register only through the coils
that overlay it.
"""

from enum import StrEnum
from math import isfinite

from msgspec import Struct

from gateway.model.asset import DataType, Span, Tag
from gateway.wire.modbus import points
from gateway.wire.quanta import LastValues, point

__all__ = ["Data", "Effect", "LastValues", "Mask", "Unreadable", "point"]


class Unreadable(StrEnum):
    """Why policy is not asked about a write."""

    PARTIAL_TAG = "partial_tag"
    "It would leave a tag half old and half new."
    NOT_A_NUMBER = "not_a_number"
    "NaN or infinite: every comparison with a limit would be false."
    BEYOND_2_53 = "beyond_2_53"
    "Too large for an exact comparison in JSON."
    UNKNOWN_EFFECT = "unknown_effect"
    "What it does is not in its bytes (43/13)."


class Data(Struct, frozen=True):
    """Whole registers or coils."""

    span: Span
    data: bytes
    "Coils packed eight to a byte, the first in the lowest bit; registers two bytes each, high byte first."

    @property
    def values(self) -> tuple[int, ...]:
        """Raw registers, or coils as 0 and 1."""
        if self.span.table in points.BITS:
            return tuple([self.data[i >> 3] >> (i & 7) & 1 for i in range(self.span.count)])
        return tuple([int.from_bytes(self.data[2 * i : 2 * i + 2]) for i in range(self.span.count)])

    def on(self, tag: Tag, _last: LastValues) -> tuple[int | None, Unreadable | None]:
        """What a tag would become, or why that cannot be said."""
        number = points.raw(tag, self.data, self.span.start, self.span.table)
        if number is None:
            return None, Unreadable.PARTIAL_TAG
        if not isfinite(number):
            return None, Unreadable.NOT_A_NUMBER
        q = points.quanta_of_raw(tag, number)
        return (q, None) if q is not None else (None, Unreadable.BEYOND_2_53)


class Mask(Struct, frozen=True):
    """One register = (register AND and_mask) OR (or_mask AND NOT and_mask) (AP §6.16)."""

    span: Span
    and_mask: int
    or_mask: int

    def on(self, tag: Tag, last: LastValues) -> tuple[int | None, Unreadable | None]:
        """What a tag would become, as far as the last value polled can say; null where it cannot.

        The device applies the mask to what the register holds *then*; policy sees the masks beside this.
        """
        return self._on(tag, last), Unreadable.PARTIAL_TAG if tag.span.count > 1 else None

    def _on(self, tag: Tag, last: LastValues) -> int | None:
        kept, changed = points.word(tag, self.and_mask), points.word(tag, self.or_mask)
        known = last.last(tag.name)
        before = None if known is None else known[0]
        if tag.type is DataType.BOOL and tag.bit is not None:
            return before if kept >> tag.bit & 1 else changed >> tag.bit & 1
        register = 0
        if kept:
            held = None if before is None else points.register(tag, before)
            if held is None:
                return None
            register = points.word(tag, held) & kept
        register |= changed & ~kept
        on_wire = points.word(tag, register).to_bytes(2, "big")
        number = points.raw(tag, on_wire, self.span.start, tag.span.table)
        return None if number is None else points.quanta_of_raw(tag, number)


Effect = Data | Mask
