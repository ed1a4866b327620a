"""What an endpoint says of itself: policies, modes, kinds of users (OPC 10000-4 §5.5.4, §7.14, §7.42)."""

from collections.abc import Collection

from gateway.model.asset import OpcuaMode, OpcuaPolicy
from gateway.wire.opcua.messages import ApplicationDescription, EndpointDescription, UserTokenPolicy
from gateway.wire.opcua.security import MODE_NUMBERS, SUITES, Suite

ANONYMOUS = "anonymous"
USER_NAME = "username"
CERTIFICATE = "certificate"
JWT = "jwt"
JWT_KIND = "http://opcfoundation.org/UA/UserToken#JWT"
USER_SUITE: Suite = SUITES[OpcuaPolicy.BASIC256SHA256]
"""How secrets and signatures of users are protected, whatever the channel: named in every policy, so that
there is one algorithm to open secrets with, and none to negotiate down."""

_LEVELS = {policy: level for level, policy in enumerate(SUITES, start=1)}


def users(
    *, anonymous: bool = False, passwords: bool = False, certificates: bool = False, issuer: str | None = None
) -> tuple[UserTokenPolicy, ...]:
    """The kinds of users that may come; `issuer` is the JSON of OPC 10000-6 §6.5.2.2 where JWT are taken."""
    uri = USER_SUITE.uri
    found = [
        UserTokenPolicy(id=ANONYMOUS, kind=0) if anonymous else None,
        UserTokenPolicy(id=USER_NAME, kind=1, policy_uri=uri) if passwords else None,
        UserTokenPolicy(id=CERTIFICATE, kind=2, policy_uri=uri) if certificates else None,
        UserTokenPolicy(id=JWT, kind=3, issued_kind=JWT_KIND, issuer=issuer, policy_uri=uri)
        if issuer is not None
        else None,
    ]
    return tuple([each for each in found if each is not None])


def endpoints(
    url: str,
    server: ApplicationDescription,
    certificate: bytes,
    offered: Collection[tuple[OpcuaPolicy, OpcuaMode]],
    kinds: tuple[UserTokenPolicy, ...],
) -> tuple[EndpointDescription, ...]:
    """The endpoint once for each policy and mode, the best first. None is for discovery, and not offered."""
    described = [
        EndpointDescription(
            url=url,
            server=server,
            certificate=certificate,
            mode=MODE_NUMBERS[mode],
            policy_uri=SUITES[policy].uri,
            users=kinds,
            level=_LEVELS[policy] + 10 * MODE_NUMBERS[mode],
        )
        for policy, mode in offered
    ]
    return tuple(sorted(described, key=lambda each: -each.level))
