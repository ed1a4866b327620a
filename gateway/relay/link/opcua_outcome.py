"""What a server's answer means for the record of a permit."""

from collections.abc import Sequence
from typing import Any

from gateway.wire.opcua.answer import ServiceAnswer

MOST_STATUSES = 200
"Statuses that a record names, one for each node or method; it says how many there were."

_OK = {"status": "ok"}


def result(answer: ServiceAnswer, kept: int) -> dict[str, Any]:
    """`ok` where the service and each of its items went well; else which did not.

    `exception_80340000`: the server refused the whole; `exception_partly`: only some items are done, and
    `statuses` says which.
    """
    if bad(answer.status):
        return {"status": f"exception_{answer.status:08x}"}
    if not any(bad(status) for status in answer.statuses):
        return _OK
    whole = all(bad(status) for status in answer.statuses)
    status = f"exception_{answer.statuses[0]:08x}" if whole and kept == 1 else "exception_partly"
    return {
        "status": status,
        "statuses": _told(answer.statuses),
        "more": max(0, len(answer.statuses) - MOST_STATUSES),
    }


def bad(status: int) -> bool:
    """Whether a status says that it was not done (OPC 10000-4 §7.39: the two highest bits)."""
    return status >= 0x8000_0000


def _told(statuses: Sequence[int]) -> list[str]:
    return ["ok" if not bad(each) else f"{each:08x}" for each in statuses[:MOST_STATUSES]]
