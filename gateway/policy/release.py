"""A release: which bundle is the newer one, until when it may be activated, and what it takes back.

An archive carries it as `release.json`, which is part of the revision: the same content released a second
time, with a higher serial, is another bundle. Times are whole seconds, UTC.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from gateway.model.errors import Fault, PolicyError
from gateway.model.moment import SECOND

FILE = "release.json"
MOST_SERIAL = 1 << 53
"Every JSON reader holds integers up to here exactly."

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_REVISION = re.compile(r"[0-9a-f]{64}")


class Release(Struct, frozen=True, kw_only=True):
    """What `release.json` says."""

    serial: int
    "Higher than that of every release before it; the first is 1."
    issued_ns: int
    "When it was released, ns since 1970, whole seconds."
    expires_ns: int | None = None
    "From when on nobody activates it any more; None: never."
    reissue_of: str | None = None
    "Revision of the bundle whose content this is once more."

    def encode(self) -> bytes:
        """As it is written."""
        expires = None if self.expires_ns is None else rfc3339(self.expires_ns)
        stated = {
            "serial": self.serial,
            "issued": rfc3339(self.issued_ns),
            "expires": expires,
            "reissue_of": self.reissue_of,
        }
        return json.dumps(stated, indent=1).encode() + b"\n"


def parse(content: bytes) -> Release:
    """Read `release.json`: exactly its four fields. Raises PolicyError."""
    try:
        stated = json.loads(content.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _refused(f"is not JSON: {error}") from None
    if not isinstance(stated, dict) or stated.keys() != {"serial", "issued", "expires", "reissue_of"}:
        raise _refused("has other fields than serial, issued, expires and reissue_of")
    serial, former = stated["serial"], stated["reissue_of"]
    if not isinstance(serial, int) or isinstance(serial, bool) or not 1 <= serial <= MOST_SERIAL:
        raise _refused(f"says serial {serial!r}, which is no positive integer")
    if former is not None and not (isinstance(former, str) and _REVISION.fullmatch(former)):
        raise _refused("says reissue_of without a revision")
    issued = _time(stated["issued"])
    expires = None if stated["expires"] is None else _time(stated["expires"])
    if expires is not None and expires <= issued:
        raise _refused("expires before it was issued")
    return Release(serial=serial, issued_ns=issued, expires_ns=expires, reissue_of=former)


def rfc3339(ns: int) -> str:
    """Whole seconds, UTC: `2026-11-23T10:00:00Z`."""
    return datetime.fromtimestamp(ns // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: Any) -> int:
    if isinstance(text, str) and _TIME.fullmatch(text):
        try:
            return int(datetime.fromisoformat(text).timestamp()) * SECOND
        except ValueError:
            pass
    raise _refused(f"says {text!r} where a time like 2026-11-23T10:00:00Z belongs")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _refused(what: str) -> PolicyError:
    return PolicyError([Fault(FILE, what, "build it with dmz-gateway policy build")])
