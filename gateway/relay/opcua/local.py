"""Services of the gateway's own: discovery, and the beginning and end of sessions (OPC 10000-4 §5.5, §5.7).

The order of an ActivateSession (facts §5): proof of the client's key → user → budgets → session with the
server → the switch, in one step. What fails changes nothing.
"""

import secrets
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.identity.certificate import Refused
from gateway.identity.users import User
from gateway.model.asset import OpcuaUser
from gateway.model.moment import Now
from gateway.relay.link.opcua import OpcuaLink
from gateway.relay.link.opcua_opening import LinkRefused
from gateway.relay.opcua.session import Session
from gateway.wire.opcua import messages, tokens
from gateway.wire.opcua.login import Account
from gateway.wire.opcua.meaning import Context
from gateway.wire.opcua.messages import (
    ActivateSessionRequest,
    CloseSessionRequest,
    CloseSessionResponse,
    CreateSessionRequest,
    FindServersRequest,
    FindServersResponse,
    GetEndpointsRequest,
    ResponseHeader,
    Unread,
)
from gateway.wire.opcua.request import Request
from gateway.wire.opcua.security import certificates
from gateway.wire.opcua.session import Ownership
from gateway.wire.opcua.status import Status

if TYPE_CHECKING:
    from gateway.relay.opcua.client import OpcuaClient
    from gateway.relay.opcua.listener import OpcuaListener

MOST_FAILED_USERS = 5
"""Wrong users that one session may show; then its client is cut, and a session not yet active is over:
who guesses opens a channel again for each few."""
WRONG_USER = frozenset({Status.IDENTITY_TOKEN_REJECTED, Status.USER_ACCESS_DENIED})
"What we say of a wrong user, and what servers say."
COSTLY = frozenset({"CreateSession", "ActivateSession"})
"What costs operations with our private key."
IMPERSONATION = Refused("user_kind", "the server is given users by name and password, and this is none")


class Local:
    """Answers them for all clients of a listener."""

    def __init__(self, listener: "OpcuaListener") -> None:
        self._listener = listener

    def request(self, client: "OpcuaClient", request_id: int, request: Request, now: Now) -> None:
        """One such request; it was scanned to its last byte."""
        if request.service.name in COSTLY and not self._listener.may_try(client, now):
            client.fault(request_id, request.header.handle, Status.TOO_MANY_OPERATIONS, now)
            return
        match request.service.name:
            case "GetEndpoints":
                self._endpoints(client, request_id, request, now)
            case "FindServers":
                self._servers(client, request_id, request, now)
            case "CreateSession":
                self._create(client, request_id, request, now)
            case "ActivateSession":
                self._activate(client, request_id, request, now)
            case "CloseSession":
                self._close(client, request_id, request, now)
            case _:
                client.fault(request_id, request.header.handle, Status.SERVICE_UNSUPPORTED, now)

    # discovery -----------------------------------------------------------------------------------

    def _endpoints(self, client: "OpcuaClient", request_id: int, request: Request, now: Now) -> None:
        asked = messages.read(request.body, GetEndpointsRequest)
        if isinstance(asked, Unread):
            client.fault(request_id, request.header.handle, Status.DECODING_ERROR, now)
            return
        told = self._listener.endpoints.told(asked.url or client.url)
        when = messages.moment(now.wall_ns).to_bytes(8, "little")
        client.answer(request_id, b"".join((told[:4], when, request.body[_handle(request)], told[16:])), now)

    def _servers(self, client: "OpcuaClient", request_id: int, request: Request, now: Now) -> None:
        asked = messages.read(request.body, FindServersRequest)
        if isinstance(asked, Unread):
            client.fault(request_id, request.header.handle, Status.DECODING_ERROR, now)
            return
        found = self._listener.endpoints.server(asked.url or client.url)
        servers = (found,) if not asked.uris or found.uri in asked.uris else ()
        answer = FindServersResponse(header=_header(request, now), servers=servers)
        client.answer(request_id, messages.encode(answer), now)

    # sessions ------------------------------------------------------------------------------------

    def _create(self, client: "OpcuaClient", request_id: int, request: Request, now: Now) -> None:
        listener = self._listener
        asked = messages.read(request.body, CreateSessionRequest)
        handle = request.header.handle
        if isinstance(asked, Unread):
            client.fault(request_id, handle, Status.DECODING_ERROR, now)
            return
        route = listener.endpoints.route(asked.url or client.url)
        admitted, caller = client.admitted, client.caller
        refusal: tokens.Refusal | None = None
        if route is None or (asked.server_uri and asked.server_uri != listener.endpoints.uri):
            refusal = tokens.Refusal(Status.SERVER_URI_INVALID, f"no server at {asked.url!r}"[:300])
        elif admitted is None or caller is None:
            refusal = tokens.Refusal(Status.SECURITY_MODE_INSUFFICIENT, "a channel without security")
        elif not self._room(admitted.identity.subject):
            refusal = tokens.Refusal(Status.TOO_MANY_SESSIONS, "the application has all sessions it may have")
        if refusal is not None or route is None or admitted is None or caller is None:
            self._no(client, request_id, handle, "CreateSession", refusal, now)
            return
        longest = float(route.server.session_ms)
        wanted = min(asked.timeout_ms, longest) if asked.timeout_ms > 0 else longest
        endpoints = listener.endpoints.of(asked.url or client.url, route)
        made = tokens.create(
            replace(asked, timeout_ms=wanted),
            client.channel,
            endpoints,
            listener.channel_limits.buffers.most_message,
            secrets.token_bytes,
            now,
        )
        if isinstance(made, tokens.Refusal):
            self._no(client, request_id, handle, "CreateSession", made, now)
            return
        session = Session(
            made.session,
            route,
            client,
            chain=client.chain,
            admitted=admitted,
            caller=caller,
            ownership=Ownership(listener.ownership_bounds),
            name="".join(each if each.isprintable() else "?" for each in (asked.name or "")[:200]),
            now=now,
        )
        listener.sessions.add(session)
        client.sessions.add(session)
        client.answer(request_id, made.answer, now)

    def _activate(self, client: "OpcuaClient", request_id: int, request: Request, now: Now) -> None:
        listener = self._listener
        asked = messages.read(request.body, ActivateSessionRequest)
        handle = request.header.handle
        session = listener.sessions.get(request.token)
        if isinstance(asked, Unread):
            client.fault(request_id, handle, Status.DECODING_ERROR, now)
            return
        if session is None or session.ended:
            client.fault(request_id, handle, Status.SESSION_ID_INVALID, now)
            return
        activation = session.rights.check(
            asked, client.channel, listener.kinds(session.route), secrets.token_bytes
        )
        if isinstance(activation, tokens.Refusal):
            self._no(client, request_id, handle, "ActivateSession", activation, now, session)
            return
        if session.activating:
            client.fault(request_id, handle, Status.TOO_MANY_OPERATIONS, now)
            return
        session.activating = True
        work = self._activated(client, request_id, session, activation)
        listener.tasks.start(work, "opcua session")

    async def _activated(
        self, client: "OpcuaClient", request_id: int, session: Session, activation: tokens.Activation
    ) -> None:
        try:
            refusal = await self._try(client, request_id, session, activation)
        finally:
            session.activating = False
        if refusal is not None:
            now = self._listener.clock()
            self._no(client, request_id, activation.handle, "ActivateSession", refusal, now, session)
            if refusal.status in WRONG_USER:
                session.failed_users += 1
                if session.failed_users >= MOST_FAILED_USERS:
                    if not session.active:
                        self._listener.end_session(session, Status.SESSION_CLOSED, "too many wrong users")
                    client.sever(Status.SECURITY_CHECKS_FAILED)
        if session.client is None and not session.active:
            self._listener.end_session(session, Status.SESSION_CLOSED, "its client left before it was active")

    async def _try(
        self, client: "OpcuaClient", request_id: int, session: Session, activation: tokens.Activation
    ) -> tokens.Refusal | None:
        """Everything after the proof of the client's key. None where the session is active."""
        listener, rights = self._listener, session.rights
        named = activation.user.name if isinstance(activation.user, tokens.Named) else None
        if rights.active and named is not None and f"user:{named}" != rights.user:
            # Said before the password is looked at: nobody guesses those of others from a session of his own.
            return tokens.Refusal(Status.IDENTITY_CHANGE_NOT_SUPPORTED, "another user than the session's")
        shown = await self._user(session, activation.user)
        if isinstance(shown, Refused):
            return tokens.Refusal(Status.IDENTITY_TOKEN_REJECTED, f"{shown.code}: {shown.message}")
        user, account = shown
        subject = user.subject if user is not None else None
        if rights.active and subject != rights.user:
            return tokens.Refusal(Status.IDENTITY_CHANGE_NOT_SUPPORTED, "another user than the session's")
        most = listener.limits.sessions_of_one
        if subject is not None and not rights.active and listener.sessions.of_user(subject) >= most:
            return tokens.Refusal(Status.TOO_MANY_SESSIONS, "the user has all sessions he may have")
        link = session.link
        if link is None:
            try:
                link = await self._open(session, account)
            except LinkRefused as refused:
                return tokens.Refusal(_told(refused.status), refused.why)
        now = listener.clock()
        if client.over or session.ended or listener.quiet or not link.up:
            if link is not session.link:
                session.route.links.close(link)
            return tokens.Refusal(Status.SESSION_CLOSED, "it ended while it was activated")
        answer = rights.commit(activation, subject, client.channel, secrets.token_bytes, now)
        if isinstance(answer, tokens.Refusal):
            if link is not session.link:
                session.route.links.close(link)
            return answer
        self._switch(client, session, user, account, link, now)
        client.answer(request_id, answer, now)
        return None

    def _room(self, subject: str) -> bool:
        """Whether an application may have one more; one that it left behind makes room."""
        sessions, most = self._listener.sessions, self._listener.limits.sessions_of_one
        if sessions.of_application(subject) >= most:
            left = sessions.abandoned(subject)
            if left is not None:
                self._listener.end_session(left, Status.SESSION_CLOSED, "its client made a new one instead")
        return sessions.of_application(subject) < most

    async def _open(self, session: Session, account: Account | None) -> OpcuaLink:
        """A session with the server; where it has no place left, that of one which the client left behind."""
        listener, links = self._listener, session.route.links
        longest = max(session.rights.timeout_ms, float(session.route.server.session_ms))

        def lost(_link: OpcuaLink, why: str) -> None:
            listener.link_lost(session, why)

        try:
            return await links.open(account, lost, timeout_ms=longest)
        except LinkRefused as refused:
            left = listener.sessions.abandoned(session.admitted.identity.subject, session.route)
            if refused.status != Status.TOO_MANY_SESSIONS or left is None:
                raise
            listener.end_session(left, Status.SESSION_CLOSED, "its client made a new one instead")
            return await links.open(account, lost, timeout_ms=longest)

    def _switch(
        self,
        client: "OpcuaClient",
        session: Session,
        user: User | None,
        account: Account | None,
        link: OpcuaLink,
        now: Now,
    ) -> None:
        """The session is this user's, on this channel; the one before loses it (facts §4.6)."""
        listener, channel, before = self._listener, client.channel, session.client
        if before is not None and before is not client:
            before.sessions.discard(session)
            before.began_ns = now.mono_ns
        moved = session.link is not None and before is not client
        session.client, session.link, session.user, session.account = client, link, user, account
        client.sessions.add(session)
        session.heard_ns = now.mono_ns
        if client.caller is not None:
            identity = replace(
                client.caller.identity, on_behalf_of=user.subject if user is not None else None
            )
            session.caller = replace(client.caller, identity=identity)
        session.context = Context(
            link.namespaces,
            channel.policy.value if channel.policy is not None else None,
            channel.mode.value if channel.mode is not None else None,
            session.ownership,
        )
        client.welcome()
        listener.activated(session, moved, now)

    async def _user(
        self, session: Session, shown: tokens.User
    ) -> tuple[User | None, Account | None] | Refused:
        """Who it is, and whom the server is to see."""
        listener, server = self._listener, session.route.server
        fixed = listener.account(session.route)
        passed_on = server.user is OpcuaUser.IMPERSONATE
        match shown:
            case tokens.Anonymous():
                if not listener.users.anonymous:
                    return Refused("user_kind", "this listener takes nobody without a user")
                return None, fixed
            case tokens.Named(name=name, secret=secret):
                account = Account(name, secret.text)
                if not listener.knows_passwords:
                    if not passed_on:
                        return Refused("user_kind", "this listener knows no users by password")
                    return self._vouched_for_by_the_server(session, account)
                found = await listener.password(name, secret.text)
                return found if isinstance(found, Refused) else (found, account if passed_on else fixed)
            case tokens.Certified(chain=chain) if not passed_on:
                judged = listener.users.certificate((certificates(chain) or (b"",))[0], listener.clock())
                return judged if isinstance(judged, Refused) else (judged, fixed)
            case tokens.Bearer(secret=bearer) if not passed_on:
                judged = listener.users.token(bearer.text, session.admitted.certificate, listener.clock())
                return judged if isinstance(judged, Refused) else (judged, fixed)
            case _:
                return IMPERSONATION

    def _vouched_for_by_the_server(
        self, session: Session, account: Account
    ) -> tuple[User | None, Account | None] | Refused:
        """No password file: the server says who it is, when its session is opened as that user."""
        if session.account is not None and not (
            session.account.name == account.name
            and secrets.compare_digest(session.account.password.encode(), account.password.encode())
        ):
            return Refused("user_password", "another user, or another password, than the session's")
        return User(subject=f"user:{account.name}", kind="password", proof=b""), account

    def _close(self, client: "OpcuaClient", request_id: int, request: Request, now: Now) -> None:
        """CloseSession. Subscriptions end with it whatever it says: nobody is left whose they could be."""
        session = self._listener.sessions.get(request.token)
        asked = messages.read(request.body, CloseSessionRequest)
        if session is None or session.client is not client or isinstance(asked, Unread):
            client.fault(request_id, request.header.handle, Status.SESSION_ID_INVALID, now)
            return
        self._listener.end_session(session, Status.SESSION_CLOSED, "closed by its client")
        client.answer(request_id, messages.encode(CloseSessionResponse(_header(request, now))), now)

    def _no(
        self,
        client: "OpcuaClient",
        request_id: int,
        handle: int,
        what: str,
        refusal: tokens.Refusal | None,
        now: Now,
        session: Session | None = None,
    ) -> None:
        refusal = refusal or tokens.Refusal(Status.SESSION_ID_INVALID, "no such session")
        self._listener.refused(client, what, refusal, now, session)
        client.fault(request_id, handle, refusal.status, now)


def _told(status: int) -> Status:
    """What a client learns of why a server did not let us: the budget, the user, or no more than that."""
    if status in (Status.TOO_MANY_SESSIONS, Status.IDENTITY_TOKEN_REJECTED, Status.USER_ACCESS_DENIED):
        return Status(status)
    return Status.SERVER_NOT_CONNECTED


def _handle(request: Request) -> slice:
    """Where a request's handle stands: behind token and timestamp."""
    return slice(request.header.token.stop + 8, request.header.token.stop + 12)


def _header(request: Request, now: Now) -> ResponseHeader:
    return ResponseHeader(timestamp=messages.moment(now.wall_ns), handle=request.header.handle)
