"""Tables as files that open anywhere: one HTML page without scripts or network, and CSV (RFC 4180).

Whatever a record says may have been chosen by an attacker: in HTML everything is escaped and the page's own
policy forbids scripts and loading; in CSV a text that a spreadsheet would take for a formula is quoted.
"""

from collections.abc import Iterable
from html import escape

from gateway.audit.report import Cell, Table
from gateway.audit.tell import plain

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"How a text begins that a spreadsheet would calculate (OWASP: CSV injection)."
WIDE, HIGH, ROOM = 900, 160, 28
"Size of a picture, and the part of its height for the days' names."
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}
h2{font-size:1.1rem;margin-top:2.2rem}p{margin:.3rem 0;max-width:50rem}
.note{opacity:.75}nav a{margin-right:1rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;vertical-align:top;
padding:.3rem .6rem;border-bottom:1px solid #8884;overflow-wrap:anywhere}
th{font-weight:600;white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:currentColor}rect{fill:#c2542d}
@media print{body{margin:0;max-width:none;font-size:11px}table{font-size:10px}nav{display:none}
h2{break-after:avoid}tr{break-inside:avoid}}
"""


def csv(table: Table) -> str:
    """RFC 4180: CRLF, quoted where needed, a head row."""
    return "".join(_csv_row(row) for row in (table.columns, *table.rows))


def _csv_row(row: Iterable[Cell]) -> str:
    return ",".join(map(_csv_cell, row)) + "\r\n"


def _csv_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        return f"{cell}"
    text = f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def page(title: str, about: Iterable[str], tables: Iterable[Table]) -> str:
    """The whole report as one page."""
    made = list(tables)
    links = "".join(f'<a href="#{t.name}">{escape(t.title)}</a>' for t in made)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>",
        *(f"<p class=note>{escape(line)}</p>" for line in about),
        f"<nav>{links}</nav>",
        *map(_section, made),
        "</html>\n",
    ]
    return "\n".join(parts)


def _section(table: Table) -> str:
    head = f'<h2 id="{table.name}">{escape(table.title)}</h2>'
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    picture = _bars(table.days) if any(count for _, count in table.days) else ""
    if not table.rows:
        return f"{head}{note}<p>Nothing in this period.</p>"
    names = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows)
    return (
        f"{head}{note}{picture}<div class=scroll><table><thead><tr>{names}</tr></thead>"
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    if cell is None:
        return "<td></td>"
    if isinstance(cell, str):
        return f"<td>{escape(plain(cell))}</td>"
    return f"<td class=n>{cell:,}</td>" if isinstance(cell, int) else f"<td class=n>{cell:g}</td>"


def _bars(days: list[tuple[str, int]]) -> str:
    """Counts by day as bars; each says its day and number when pointed at, and in the table of the text."""
    most = max(count for _, count in days)
    step = WIDE / len(days)
    every = max(1, -(-len(days) // 10))
    bars = []
    for at, (day, count) in enumerate(days):
        high = (HIGH - ROOM - 14) * count / most
        bars.append(
            f'<rect x="{at * step + 1:.1f}" y="{HIGH - ROOM - high:.1f}" width="{max(step - 2, 1):.1f}"'
            f' height="{high:.1f}"><title>{escape(day)}: {count}</title></rect>'
        )
        if at % every == 0:
            bars.append(f'<text x="{at * step + 1:.1f}" y="{HIGH - 12}">{escape(day[5:])}</text>')
    name = f"Refusals a day, at most {most}"
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" role=img aria-label="{name}"><title>{name}</title>'
        f'<text x="0" y="10">{most:,}</text>{"".join(bars)}</svg>'
    )
