"""What may be asked of an authority: names that are safe as files, SPIFFE paths and common names at once."""

import re
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from gateway.identity.certificate import ROLE
from gateway.identity.profiles import Profile
from gateway.model.errors import IdentityError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
"A name is a file name, a SPIFFE path segment and a common name at once (at most 64 characters, X.520)."
DOMAIN = re.compile(r"(?=.{1,64}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
"A trust domain, and a DNS name of a certificate."


class Request(Struct, frozen=True, kw_only=True):
    """What `pki issue` was asked for."""

    profile: str
    zone: str
    name: str
    role: str | None = None
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    uri: str | None = None
    days: int | None = None
    out: Path | None = None
    "Path without suffix, instead of DIR/<zone>/issued/<name>."


def check(request: Request, profile: Profile) -> None:
    """IdentityError where the profile does not grant what is asked for."""
    hosts = (*request.dns, *request.ips)
    wrong: list[tuple[bool, str]] = [
        (not NAME.fullmatch(request.name) or len(request.name) > 64, f"{request.name!r} cannot be a name"),
        (request.role is not None and profile.role == "refused", f"profile {request.profile} has no role"),
        (
            request.role is not None and not ROLE.fullmatch(request.role),
            f"{request.role!r} cannot be a role: 1 to 64 of letters, digits, space, _ . -",
        ),
        (bool(hosts) and profile.hosts == "refused", f"profile {request.profile} has no host names"),
        (not hosts and profile.hosts == "required", f"profile {request.profile} needs --dns or --ip"),
        (any(not DOMAIN.fullmatch(name) for name in request.dns), "a --dns is no host name"),
        (any(not _is_address(text) for text in request.ips), "an --ip is no address"),
        (
            request.uri is not None
            and not (profile.uri.startswith("urn:") and request.uri.startswith("urn:")),
            "--uri is for urn: names of OPC UA applications",
        ),
        (request.days is not None and request.days < 1, "--days is less than 1"),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise IdentityError(message)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
