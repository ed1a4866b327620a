"""How an intent ended, in five words to search by and in the words of the record.

Only `ok` says that it was done. `unknown` is whatever leaves open whether it was: an answer that was none, a
connection that ended, and an intent whose outcome nobody wrote down.
"""

from typing import Any

OUTCOMES = ("ok", "timeout", "unknown", "exception", "not_sent")
NONE_YET = "none recorded"
"What is said of an intent without outcome."
SAID_NO = "failed"
"Status of a command that the gateway itself could not carry out."


def outcome(result: dict[str, Any]) -> str:
    """Which of the five a result is."""
    status = str(result.get("status"))
    if status.startswith("exception") or status == SAID_NO:
        return "exception"
    return status if status in OUTCOMES else "unknown"


def timed(result: dict[str, Any], asked_ns: int | None, now_ns: int) -> dict[str, Any]:
    """A result with how long it took: from the asking, so the record's own way to the disk is in it."""
    if asked_ns is None:
        return result
    return {**result, "latency_ms": round((now_ns - asked_ns) / 1_000_000, 3)}


def words(result: dict[str, Any]) -> str:
    """A result on one line: `ok`, `exception 02`, `not sent` …"""
    status = str(result.get("status")).replace("_", " ")
    code = result.get("code")
    return f"{status} {code:02x}" if isinstance(code, int) else status
