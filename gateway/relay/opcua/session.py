"""Sessions: one of a client to one of the server, for as long as both hold.

- A session belongs to the certificate that made it and, once activated, to one user; what must be shown for
  it is `wire.opcua.tokens`'.
- It outlives its socket until its time-out: clients come back on a new channel (OPC 10000-4 §5.7.3), and the
  server must not notice.
- Where the session with the server ends, this one ends: another one would make every id of the client false.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gateway.identity.chain import Admitted
from gateway.identity.users import User
from gateway.model.identity import Caller
from gateway.model.moment import Now
from gateway.relay.link.opcua import OpcuaLink
from gateway.wire.opcua import tokens
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.meaning import Context
from gateway.wire.opcua.session import Ownership

if TYPE_CHECKING:
    from gateway.relay.opcua.client import OpcuaClient
    from gateway.relay.opcua.route import OpcuaRoute

MILLISECOND = 1_000_000


class Session:
    """One session of a client."""

    __slots__ = (
        "account",
        "activating",
        "admitted",
        "caller",
        "chain",
        "client",
        "context",
        "end_status",
        "ended",
        "failed_users",
        "heard_ns",
        "in_flight",
        "link",
        "name",
        "ownership",
        "publishes",
        "rights",
        "route",
        "timeout_ns",
        "user",
    )

    def __init__(
        self,
        rights: tokens.Session,
        route: "OpcuaRoute",
        client: "OpcuaClient",
        *,
        chain: bytes,
        admitted: Admitted,
        caller: Caller,
        ownership: Ownership,
        name: str,
        now: Now,
    ) -> None:
        self.rights = rights
        "Who may use it."
        self.route = route
        self.client: OpcuaClient | None = client
        "The connection whose channel it is bound to; null while that is gone."
        self.chain = chain
        "The client's certificates, as they are judged again and again."
        self.admitted = admitted
        self.caller = caller
        self.ownership = ownership
        self.name = name
        self.timeout_ns = int(rights.timeout_ms * MILLISECOND)
        self.heard_ns = now.mono_ns
        self.user: User | None = None
        self.account: Account | None = None
        "Whom the server sees, where users are passed on."
        self.link: OpcuaLink | None = None
        self.context: Context | None = None
        self.activating = False
        self.ended = False
        self.end_status = 0
        "What requests that were on their way are told once it has ended."
        self.failed_users = 0
        self.in_flight = 0
        "Requests that are not answered yet, Publish not counted."
        self.publishes = 0

    @property
    def active(self) -> bool:
        """Whether services may be asked for."""
        return self.rights.active and self.link is not None and not self.ended

    @property
    def who(self) -> tuple[str, str | None]:
        """Application and user: what owns subscriptions."""
        identity = self.caller.identity
        return identity.subject, identity.on_behalf_of

    def overdue(self, now: Now) -> bool:
        """Whether its client has been silent for longer than its time-out."""
        return now.mono_ns - self.heard_ns > self.timeout_ns


class Sessions:
    """All sessions of a listener, by token."""

    def __init__(self) -> None:
        self._by_token: dict[bytes, Session] = {}
        self._of_application: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_token.values()))

    def add(self, session: Session) -> None:
        """One more."""
        self._by_token[session.rights.token] = session
        self._of_application[session.admitted.identity.subject] += 1

    def remove(self, session: Session) -> None:
        """One less; it may be gone already."""
        if self._by_token.pop(session.rights.token, None) is not None:
            self._of_application[session.admitted.identity.subject] -= 1

    def get(self, token: bytes) -> Session | None:
        """The session of that token: 256 random bits, so that the time of a look-up tells nobody anything."""
        return self._by_token.get(token)

    def of_application(self, subject: str) -> int:
        """How many one application has, by whatever certificate."""
        return self._of_application[subject]

    def of_user(self, subject: str) -> int:
        """How many active ones one user has, whatever application they came by."""
        return sum(each.user is not None and each.user.subject == subject for each in self)

    def abandoned(self, subject: str, route: "OpcuaRoute | None" = None) -> Session | None:
        """The session of an application whose client has been gone longest; of one route, where named."""
        waiting = [
            each
            for each in self
            if each.client is None
            and not each.activating
            and each.admitted.identity.subject == subject
            and route in (None, each.route)
        ]
        return min(waiting, key=lambda each: each.heard_ns, default=None)

    def siblings(self, session: Session) -> tuple[Session, ...]:
        """Other active sessions of the same application and user with the same server."""
        return tuple(
            each
            for each in self
            if each is not session and each.active and each.route is session.route and each.who == session.who
        )

    def status(self) -> list[dict[str, Any]]:
        """For `status`."""
        return [
            {
                "asset": each.route.asset.name,
                "subject": each.caller.identity.subject,
                "on_behalf_of": each.caller.identity.on_behalf_of,
                "active": each.active,
                "connected": each.client is not None,
                "in_flight": each.in_flight,
                "publishes": each.publishes,
            }
            for each in self
        ]
