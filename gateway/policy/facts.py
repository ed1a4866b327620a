"""Facts about plant, gateway and time that policy sees. They are supplied, never asked for by a rule.

Time enters policy as the names of the windows that are open: so a decision can be replayed, cached and
explained, and every engine agrees on it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from gateway.model.identity import Authentication, Identity
from gateway.model.moment import SECOND

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"As `datetime.weekday` counts them."


CERTIFIED = frozenset({Authentication.MTLS, Authentication.OPCUA})
"By a certificate that came in, which a list could revoke."


class Facts(Struct, frozen=True, kw_only=True):
    """What is true now for every question. The defaults are those that allow least."""

    mode: str = "run"
    freeze: bool = True
    windows: tuple[str, ...] = ()
    "Names of the open windows, sorted (`windows_now`)."
    crl: str = "missing"
    "`fresh`, `stale`, `grace_over` or `missing`, for zones that `crls` does not name."
    crls: tuple[tuple[str, str], ...] = ()
    "The state of each zone's revocation lists, by zone, sorted."
    break_glass: tuple[tuple[str, str], ...] = ()
    "Who has broken the glass: subject and the id of that act, sorted."
    clock: str = "grace_over"
    "`trusted`, `untrusted` (within its grace) or `grace_over`."
    trusted: bool = False
    "Whether the wall clock, and so `windows`, is believed."

    def crl_of(self, identity: Identity) -> str:
        """State of the lists that could revoke this identity; `fresh` where no certificate came in."""
        if identity.auth not in CERTIFIED:
            return "fresh"
        return dict(self.crls).get(identity.zone, self.crl)

    def glass_of(self, identity: Identity) -> str | None:
        """The act by which this very identity has broken the glass, and which has not ended."""
        return dict(self.break_glass).get(identity.subject)


def windows_now(
    definitions: Mapping[str, Mapping[str, Any]], wall_ns: int, open_windows: Iterable[str] = ()
) -> tuple[str, ...]:
    """Names of the windows (data/windows.yaml) that are open at that time, sorted.

    A window that ends before it begins runs past midnight and belongs to the day on which it starts. Times
    are those that clocks on the wall show in the window's zone, so summer time moves them. `open_windows` are
    those that people have opened: they count only where the definitions still offer them `on_request`.
    """
    moment = datetime.fromtimestamp(wall_ns // SECOND, UTC)
    scheduled = {
        name for name, window in definitions.items() if not on_request(window) and _open(window, moment)
    }
    opened = {name for name in open_windows if name in definitions and on_request(definitions[name])}
    return tuple(sorted(scheduled | opened))


def on_request(window: Mapping[str, Any]) -> bool:
    """Whether people open that window, rather than a schedule."""
    return window.get("on_request") is True


def _open(window: Mapping[str, Any], moment: datetime) -> bool:
    local = moment.astimezone(ZoneInfo(window["zone"]))
    clock = local.strftime("%H:%M")
    today = DAYS[local.weekday()] in window["days"]
    if window["from"] < window["to"]:
        return today and window["from"] <= clock < window["to"]
    yesterday = DAYS[(local - timedelta(days=1)).weekday()] in window["days"]
    return (today and clock >= window["from"]) or (yesterday and clock < window["to"])
