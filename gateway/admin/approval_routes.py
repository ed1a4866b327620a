"""Rows of the admin API: who waits for approval, grant, refuse."""

from typing import Literal

from msgspec import Struct

from gateway.admin.approvals import Approvals
from gateway.admin.request import Vote
from gateway.admin.route import Asked, Done, Route, Wish, wishes_nothing
from gateway.admin.statement import rfc3339
from gateway.model.moment import SECOND
from gateway.model.operation import AdminTarget

SHOWN = 100
"Requests in one list, those that are open first: what waits at most is of that order."


class Signed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person says, signed (`statement`)."""

    statement: str
    "The text that was signed: `dmz.approval/1` in canonical form."
    signature: str
    "Base64."
    certificate: str
    "DER, base64: the certificate of this very connection."

    def vote(self) -> Vote:
        """As approvals keep it."""
        return Vote(statement=self.statement, signature=self.signature, certificate=self.certificate)


def routes(approvals: Approvals, gateway: str) -> tuple[Route, ...]:
    """The rows. `gateway` is the name that statements must say."""

    async def listed(asked: Asked) -> Done:
        now = rfc3339(asked.now.wall_ns // SECOND)
        found = approvals.recent(SHOWN, asked.now)
        return Done(told={"gateway": gateway, "now": now, "approvals": found})

    return (
        Route(
            method="GET",
            path="/admin/v1/approvals",
            kind="admin.list_approvals",
            summary="Requests that wait for approval, and recent ones",
            wish=wishes_nothing,
            act=listed,
        ),
        _answer(approvals, "grant", "admin.approve", "Grant a request, with a signed statement"),
        _answer(approvals, "refuse", "admin.refuse", "Refuse a request, with a signed statement"),
    )


def _answer(approvals: Approvals, decision: Literal["grant", "refuse"], kind: str, summary: str) -> Route:
    def wish(asked: Asked) -> Wish:
        request = approvals.find(asked.name, asked.now)
        approvals.weigh(request, asked.body.vote(), decision, asked.caller, asked.now)
        target = AdminTarget(
            subject=request.requester,
            scope=None if request.asset is None else f"asset:{request.asset}",
            value=request.kind,
            request=request.id,
        )
        return Wish(target=target)

    async def act(asked: Asked) -> Done:
        # The intent's fdatasync lay between: somebody else may have answered meanwhile.
        request = approvals.find(asked.name, asked.now)
        vote = asked.body.vote()
        statement = approvals.weigh(request, vote, decision, asked.caller, asked.now)
        answered = approvals.answer(request, vote, statement, asked.now)
        told = {"request": answered.id, "decision": decision, "expires": statement.expires}
        recorded = {name: getattr(vote, name) for name in vote.__struct_fields__}
        return Done(told=told, recorded={"operation": answered.digest, **recorded})

    return Route(
        method="POST",
        path=f"/admin/v1/approvals/{{name}}/{decision}",
        kind=kind,
        summary=summary,
        body=Signed,
        wish=wish,
        act=act,
    )
