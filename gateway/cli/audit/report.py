"""`audit report`: a period as tables; on the terminal, or as one HTML page and a CSV file for each table."""

import argparse
import sys
from pathlib import Path

import msgspec

from gateway.audit import tell
from gateway.audit.paper import csv, page
from gateway.audit.query import Filters
from gateway.audit.report import SECTIONS, Table, report
from gateway.cli.audit import given, search
from gateway.model.errors import GatewayError

WIDEST = 48
"Characters of a cell on the terminal."
DEFAULT = "7d"
MADE = (
    "Made from the journal by `dmz-gateway audit report`. `dmz-gateway audit verify` proves the journal;"
    " `dmz-gateway audit show INDEX` tells one record."
)


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(
        below, "report", "who wrote what, broken glass, approvals, refusals, gaps of a period"
    )
    given.kept(parser)
    search.conditions(parser)
    parser.set_defaults(since=DEFAULT)
    parser.add_argument(
        "--section",
        action="append",
        choices=[*SECTIONS],
        metavar="NAME",
        help=f"only this table, may be repeated: {', '.join(SECTIONS)}",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write report.html and CSV files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Report; exit code 1 where the journal is damaged."""
    wanted = search.filters(args)
    if wanted.until_ns is None:
        wanted = msgspec.structs.replace(wanted, until_ns=given.when("0s"))
    index = given.index(args)
    try:
        tables = report(index, wanted, tuple(args.section or SECTIONS))
        size, damaged = index.size, index.damaged
    finally:
        index.close()
    if damaged is not None:
        less = f"The journal is damaged at record {damaged}: this is not all."
        for table in tables:
            table.note = f"{less} {table.note}".strip()
    if args.output is not None:
        _write(args.output, _about(wanted, size), tables)
    elif args.json:
        sys.stdout.write(msgspec.json.encode(tables).decode() + "\n")
    else:
        for table in tables:
            print("\n".join(_told(table)))
    return 1 if given.warned(index.damaged) else 0


def _about(wanted: Filters, size: int) -> list[str]:
    """What the report is of."""
    ends = [tell.moment(ns)[:19] + "Z" for ns in (wanted.since_ns, wanted.until_ns) if ns is not None]
    named = {name: getattr(wanted, name) for name in search.NAMES}
    only = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
    return [
        f"{' to '.join(ends)}, from a journal of {size} records." + (f" Only {only}." if only else ""),
        MADE,
    ]


def _write(folder: Path, about: list[str], tables: list[Table]) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "report.html").write_text(page("Audit report", about, tables), encoding="utf-8")
        for table in tables:
            (folder / f"{table.name}.csv").write_text(csv(table), encoding="utf-8", newline="")
    except OSError as error:
        raise GatewayError(f"the report cannot be written: {error}") from error
    print(folder / "report.html")


def _told(table: Table) -> list[str]:
    """A table for the terminal."""
    lines = [f"{table.title}" + (f" ({table.note})" if table.note else "")]
    if not table.rows:
        return [*lines, "  nothing", ""]
    cells = [[*table.columns], *([_short(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(table.columns))]
    lines += [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    return [*lines, ""]


def _short(cell: object) -> str:
    text = "" if cell is None else f"{cell:g}" if isinstance(cell, float) else tell.plain(str(cell))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
