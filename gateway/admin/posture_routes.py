"""Rows of the admin API: state, stages, plant mode, windows, break-glass."""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.admin.posture import MOST_GLASS_MINUTES, MOST_WINDOW_MINUTES, Posture
from gateway.admin.route import Asked, Done, Nothing, Route, Wish, wishes_nothing
from gateway.model.operation import AdminTarget
from gateway.model.stage import Stage

Reason = Annotated[str, Meta(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"Somebody will read it in a year: one line, and not empty."
Mode = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"As names in policy data."
Subject = Annotated[str, Meta(min_length=1, max_length=2048)]


class SetStage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"scope": "listener:modbus", "stage": "monitor"}`."""

    scope: Annotated[str, Meta(max_length=200)]
    "`listener:NAME` or `asset:NAME`."
    stage: Stage


class SetMode(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"mode": "maintenance"}`."""

    mode: Mode


class OpenWindow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"minutes": 60}`."""

    minutes: Annotated[int, Meta(ge=1, le=MOST_WINDOW_MINUTES)]


class BreakGlass(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{"minutes": 30, "reason": "tank 2 runs over, HMI is down"}`."""

    minutes: Annotated[int, Meta(ge=1, le=MOST_GLASS_MINUTES)]
    reason: Reason


class EndBreakGlass(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`{}` for one's own; policy says who may end whose."""

    subject: Subject | None = None


def routes(posture: Posture) -> tuple[Route, ...]:
    """The rows."""
    return (_state(posture), _stage(posture), _mode(posture), *_windows(posture), *_glass(posture))


def _state(posture: Posture) -> Route:
    async def act(asked: Asked) -> Done:
        return Done(told=posture.status(asked.now))

    return Route(
        method="GET",
        path="/admin/v1/state",
        kind="admin.state",
        summary="Stages, mode, windows, and who has broken the glass until when",
        wish=wishes_nothing,
        act=act,
    )


def _stage(posture: Posture) -> Route:
    def wish(asked: Asked) -> Wish:
        return Wish(target=AdminTarget(scope=posture.scope(asked.body.scope), value=asked.body.stage.value))

    async def act(asked: Asked) -> Done:
        by = asked.caller.identity.subject
        return Done(told=posture.set_stage(asked.body.scope, asked.body.stage, by, asked.now))

    return Route(
        method="POST",
        path="/admin/v1/stage",
        kind="admin.set_stage",
        summary="How far policy is enforced for a listener or an asset",
        body=SetStage,
        wish=wish,
        act=act,
    )


def _mode(posture: Posture) -> Route:
    def wish(asked: Asked) -> Wish:
        return Wish(target=AdminTarget(value=asked.body.mode))

    async def act(asked: Asked) -> Done:
        return Done(told=posture.set_mode(asked.body.mode, asked.caller.identity.subject, asked.now))

    return Route(
        method="POST",
        path="/admin/v1/mode",
        kind="admin.set_mode",
        summary="The plant mode that policy sees",
        body=SetMode,
        wish=wish,
        act=act,
    )


def _windows(posture: Posture) -> tuple[Route, Route]:
    def wish_open(asked: Asked) -> Wish:
        minutes = asked.body.minutes
        return Wish(target=AdminTarget(value=posture.window(asked.name, minutes), minutes=minutes))

    async def act_open(asked: Asked) -> Done:
        by = asked.caller.identity.subject
        return Done(told=posture.open_window(asked.name, asked.body.minutes, by, asked.now))

    def wish_close(asked: Asked) -> Wish:
        return Wish(target=AdminTarget(value=posture.opened(asked.name, asked.now)))

    async def act_close(asked: Asked) -> Done:
        return Done(told=posture.close_window(asked.name, asked.now))

    opening = Route(
        method="POST",
        path="/admin/v1/windows/{name}/open",
        kind="admin.open_window",
        summary="Open a window that policy data offer on request",
        body=OpenWindow,
        wish=wish_open,
        act=act_open,
    )
    closing = Route(
        method="POST",
        path="/admin/v1/windows/{name}/close",
        kind="admin.close_window",
        summary="Close it before its time",
        body=Nothing,
        wish=wish_close,
        act=act_close,
    )
    return opening, closing


def _glass(posture: Posture) -> tuple[Route, Route]:
    def wish(asked: Asked) -> Wish:
        body = asked.body
        subject = asked.caller.identity.subject
        return Wish(target=AdminTarget(subject=subject, value=body.reason, minutes=body.minutes))

    async def act(asked: Asked) -> Done:
        subject, body = asked.caller.identity.subject, asked.body
        return Done(told=posture.break_glass(subject, body.minutes, body.reason, asked.now))

    def wish_end(asked: Asked) -> Wish:
        return Wish(target=AdminTarget(subject=_whose(asked)))

    async def act_end(asked: Asked) -> Done:
        return Done(told=posture.end_glass(_whose(asked), asked.now))

    breaking = Route(
        method="POST",
        path="/admin/v1/break-glass",
        kind="admin.break_glass",
        summary="Make grants marked `break_glass` count for yourself, for a time, alarmed",
        body=BreakGlass,
        wish=wish,
        act=act,
    )
    ending = Route(
        method="POST",
        path="/admin/v1/break-glass/end",
        kind="admin.end_break_glass",
        summary="End it before its time",
        body=EndBreakGlass,
        wish=wish_end,
        act=act_end,
    )
    return breaking, ending


def _whose(asked: Asked) -> str:
    return str(asked.body.subject or asked.caller.identity.subject)
