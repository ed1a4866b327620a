"""What came, what went, and what is other than before, for the record of a reload."""

from collections.abc import Iterable
from typing import Any

import msgspec

MOST_TOLD = 50
"Changes told one by one in a record; the rest is counted."


def by(rows: Iterable[Any], name: str) -> dict[str, Any]:
    """Rows of a table by the column that names them."""
    return {str(row[name]): row for row in map(msgspec.to_builtins, rows)}


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The difference of two tables."""
    changed = {
        name: {"old": old[name], "new": new[name]} for name in old if name in new and old[name] != new[name]
    }
    return {
        "added": sorted(new.keys() - old.keys())[:MOST_TOLD],
        "removed": sorted(old.keys() - new.keys())[:MOST_TOLD],
        "changed": dict(sorted(changed.items())[:MOST_TOLD]),
        "changes": len(new.keys() ^ old.keys()) + len(changed),
    }
