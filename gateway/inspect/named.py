"""Who the clients of a capture are: what `--as` says of their addresses. A capture cannot tell."""

import ipaddress
import re
from collections.abc import Iterable

from gateway.model.errors import ConfigError, Fault

FULL_SUBJECT = re.compile(r"spiffe://.+|x509:.+|local:.+|urn:[^:]+:.+")
ROLE = re.compile(r"[A-Za-z0-9_.-]*")

Who = tuple[str, tuple[str, ...]]
"Subject and roles."


def identities(words: Iterable[str]) -> dict[str, Who]:
    """What `--as` says: `ip=SUBJECT[:ROLE],…`. Raises ConfigError.

    A subject may hold colons and commas itself. A comma ends it only before `ip=`; a last colon begins a role
    only if a whole subject stands before it and no `=` or `/` behind. (`urn:a:b` is a subject, `urn:a:b:c` is
    `urn:a:b` with role c; end with a colon for no role.)
    """
    found: dict[str, Who] = {}
    for word in _split(words):
        address, equals, who = word.partition("=")
        if not equals or not _is_address(address) or not who:
            mend = "write --as 10.0.0.5=spiffe://plant.example/hmi-1:operator"
            raise ConfigError([Fault("--as", f"{word!r} is not ip=SUBJECT[:ROLE]", mend)])
        subject, colon, role = who.rpartition(":")
        if not (colon and FULL_SUBJECT.fullmatch(subject) and ROLE.fullmatch(role)):
            subject, role = who, ""
        found[str(ipaddress.ip_address(address))] = subject, (role,) if role else ()
    return found


def _split(words: Iterable[str]) -> list[str]:
    """At the commas that stand before an address and an equals sign."""
    parts: list[str] = []
    for word in words:
        for part in word.split(","):
            address, equals, _ = part.partition("=")
            if (equals and _is_address(address)) or not parts:
                parts.append(part)
            else:
                parts[-1] += f",{part}"
    return parts


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
