"""What comes out: rows for programs, a table for people."""

from collections.abc import Sequence
from typing import TextIO

import msgspec
from msgspec import Struct


class Row(Struct, frozen=True):
    """One figure, and the peer's beside it where there is one."""

    bench: str
    subject: str
    metric: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    "value / peer_value; null where the two may not be compared, or where noise made a difference negative."


def compare(
    bench: str,
    metric: str,
    unit: str,
    values: dict[str, float],
    peer: str,
    *,
    comparable: bool = True,
) -> list[Row]:
    """A row for each subject; all but the peer's own name the peer's value."""
    against = values.get(peer)
    rows = []
    for subject, value in values.items():
        if subject == peer or against is None:
            rows.append(Row(bench, subject, metric, round(value, 3), unit))
            continue
        ratio = round(value / against, 3) if comparable and against > 0 and value >= 0 else None
        rows.append(Row(bench, subject, metric, round(value, 3), unit, peer, round(against, 3), ratio))
    return rows


def print_json(rows: Sequence[Row], to: TextIO) -> None:
    """One JSON object a line."""
    to.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)


def print_table(rows: Sequence[Row], to: TextIO) -> None:
    """Columns, with a blank line between benches."""
    heads = ("bench", "subject", "metric", "value", "unit", "peer", "peer value", "ratio")
    lines = [heads]
    for row in rows:
        peer_value = "" if row.peer_value is None else _number(row.peer_value)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(
            (
                row.bench,
                row.subject,
                row.metric,
                _number(row.value),
                row.unit,
                row.peer or "",
                peer_value,
                ratio,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    numeric = {3, 6, 7}
    previous = None
    for line in lines:
        if previous is not None and line[0] != previous:
            to.write("\n")
        previous = line[0]
        cells = [
            c.rjust(w) if i in numeric else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        to.write("  ".join(cells).rstrip() + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
