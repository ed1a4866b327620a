"""The generated page is fresh, and says what the table says."""

from pathlib import Path

from gateway.wire.modbus.diagnostics import SUBFUNCTIONS
from gateway.wire.modbus.findings import FINDINGS
from gateway.wire.modbus.functions import FUNCTIONS
from gateway.wire.modbus.reference import document

PAGE = Path(__file__).parents[4] / "docs" / "protocols" / "modbus.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == document(), "the table has changed: gateway/wire/modbus/reference.py says how"


def test_every_row_is_on_the_page() -> None:
    page = document()
    for row in FUNCTIONS.values():
        assert f"| {row.code} | `modbus.{row.name}` | {row.body.table or '–'} |" in page
        assert row.body.limits in page
    for sub in SUBFUNCTIONS.values():
        assert f"| 8/{sub.sub} | `modbus.diagnostics.{sub.name}` |" in page


def test_every_finding_is_on_the_page() -> None:
    page = document()
    for finding, about in FINDINGS.items():
        assert f"| `{finding}` | {about.severity} | {about.means} |" in page
