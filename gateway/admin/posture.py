"""What people have set, until somebody sets it otherwise or its time is over (`guard.ports.Stages`).

| what         | set by            | ends                                       | after a restart         |
|--------------|-------------------|--------------------------------------------|-------------------------|
| stage        | admin.set_stage   | when set again, or the file says otherwise | as set                  |
| plant mode   | admin.set_mode    | the same                                   | as set                  |
| window       | admin.open_window | with its time, or closed                   | open for what is left   |
| broken glass | admin.break_glass | with its time, or ended                    | broken for what is left |

Times run on the monotonic clock; only across a restart the wall clock says what is left, and where it is not
trusted nothing is. Where the store is damaged everything is enforced, no window is open, no glass is broken,
and the mode is the configured one.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.admin.impossible import Impossible
from gateway.admin.statement import rfc3339
from gateway.admin.store import Change, Store, StoreError
from gateway.guard.ports import Journal
from gateway.model.moment import SECOND, Now
from gateway.model.record import RecordKind
from gateway.model.stage import STRICTNESS, Stage
from gateway.model.ulid import Ulids

MINUTE = 60 * SECOND
MOST_GLASS_MINUTES = 240
"The longest that one break of the glass lasts: half a shift. Who needs more breaks it again, and is seen."
MOST_WINDOW_MINUTES = 1_440
"The longest that a window opened on request lasts, whatever policy data say."
MOST_OPEN = 50
"Windows and broken glasses at once. A person has one; a site has few windows."

SETTING, OPENING = "setting", "opening"
"Kinds of entries in the store."
MODE = "mode"
"The scope of the plant mode; stages have `listener:NAME` and `asset:NAME`."


class Sort(StrEnum):
    """What is open for a time."""

    WINDOW = "window"
    GLASS = "break_glass"


class Setting(Struct, frozen=True, kw_only=True):
    """What somebody set. It holds as long as the configuration says what it said then."""

    value: str
    instead_of: str
    "What the configuration said; where it says something else now, the file was edited later, and counts."
    by: str
    at_ns: int


class Opening(Struct, frozen=True, kw_only=True):
    """One window, or one break of the glass."""

    id: str
    sort: Sort
    name: str
    "The window's name; the reason for breaking the glass."
    by: str
    from_ns: int
    until_ns: int


class Posture:
    """Stages, mode, windows and broken glass of one gateway."""

    def __init__(
        self,
        store: Store,
        *,
        mode: str,
        stages: Mapping[str, Stage | None],
        windows: Callable[[], Mapping[str, Mapping[str, Any]]],
        journal: Journal,
        ulids: Ulids,
        alarm: Callable[[str, dict[str, Any]], None],
        now: Now,
    ) -> None:
        """`mode` and `stages` (by scope) are the configured ones; `windows` gives data.windows in force."""
        self._store = store
        self._configured: dict[str, str] = {MODE: mode}
        self._configured |= {scope: stage.value if stage else "" for scope, stage in stages.items()}
        self._windows = windows
        self._journal = journal
        self._ulids = ulids
        self._alarm = alarm
        self._settings = {
            scope: setting
            for scope, setting in store.read(SETTING, Setting).items()
            if self._configured.get(scope) == setting.instead_of and _makes_sense(scope, setting.value)
        }
        self._openings: dict[str, tuple[Opening, int]] = {}
        "By id, with the monotonic time at which it ends."
        for opening in store.read(OPENING, Opening).values():
            self._adopt(opening, now)
        if store.damaged is not None:
            alarm("admin.store_damaged", {"why": store.damaged})

    def _adopt(self, opening: Opening, now: Now) -> None:
        known = now.trusted and opening.from_ns <= now.wall_ns
        left = opening.until_ns - now.wall_ns if known else 0
        longest = MOST_GLASS_MINUTES if opening.sort is Sort.GLASS else MOST_WINDOW_MINUTES
        self._openings[opening.id] = opening, now.mono_ns + min(left, longest * MINUTE)

    # what the rest of the gateway asks --------------------------------------------------------------------

    def of(self, listener: str, asset: str | None) -> Stage:
        """The stricter of what is set for listener and asset; `enforce` where neither is."""
        if self._store.damaged is not None:
            return Stage.ENFORCE
        scopes = [f"listener:{listener}"] + ([f"asset:{asset}"] if asset is not None else [])
        found = [Stage(value) for value in map(self._value, scopes) if value]
        return max(found, key=STRICTNESS.index, default=Stage.ENFORCE)

    @property
    def stages(self) -> dict[str, str]:
        """What is set or configured for each scope: another answer than before means that stages changed."""
        if self._store.damaged is not None:
            return {}
        return {scope: self._value(scope) for scope in self._configured if scope != MODE}

    @property
    def mode(self) -> str:
        """The plant mode that policy sees."""
        return self._value(MODE)

    def windows(self, now: Now) -> tuple[str, ...]:
        """Windows that are open on request, if policy data still say that they can be."""
        definitions = self._windows()
        return tuple(
            sorted({o.name for o in self._open(Sort.WINDOW, now) if _on_request(definitions.get(o.name))})
        )

    def broken(self, now: Now) -> tuple[tuple[str, str], ...]:
        """Who has broken the glass: (subject, id), for `Facts.break_glass`."""
        return tuple(sorted((o.by, o.id) for o in self._open(Sort.GLASS, now)))

    def status(self, now: Now) -> dict[str, Any]:
        """Who has what open until when, what is set, by whom, instead of what."""
        return {
            "mode": self.mode,
            "stages": {scope: self._value(scope) or None for scope in self._configured if scope != MODE},
            "set": [
                {
                    "scope": s,
                    "value": x.value,
                    "instead_of": x.instead_of or None,
                    "by": x.by,
                    "at": _at(x.at_ns),
                }
                for s, x in sorted(self._settings.items())
            ],
            "windows": [_shown(o, "window") for o in self._open(Sort.WINDOW, now)],
            "on_request": {
                name: definition["most_minutes"]
                for name, definition in sorted(self._windows().items())
                if _on_request(definition)
            },
            "break_glass": [_shown(o, "reason") for o in self._open(Sort.GLASS, now)],
            "damaged": self._store.damaged,
        }

    def sweep(self, now: Now) -> None:
        """End what is over, and record that it ended."""
        over = [opening for opening, at_ns in self._openings.values() if now.mono_ns >= at_ns]
        for opening in over:
            del self._openings[opening.id]
            note = {"event": f"{opening.sort.value} over", "id": opening.id, "name": opening.name}
            self._journal.event(RecordKind.ADMIN, {**note, "by": opening.by}, now, source="internal")
        if over:
            try:
                self._store.write([(OPENING, opening.id, None) for opening in over])
            except StoreError as error:
                self._alarm("admin.not_kept", {"why": str(error)})

    # what people do ---------------------------------------------------------------------------------------

    def scope(self, name: str) -> str:
        """The scope, if there is one of that name; Impossible where there is not."""
        if name == MODE or name not in self._configured:
            raise Impossible("unknown_scope", 404, "there is no such listener or asset")
        return name

    def set_stage(self, scope: str, stage: Stage, by: str, now: Now) -> dict[str, Any]:
        """From now on listener or asset is enforced so far."""
        return self._set(self.scope(scope), stage.value, by, now)

    def set_mode(self, mode: str, by: str, now: Now) -> dict[str, Any]:
        """From now on policy sees this plant mode."""
        return self._set(MODE, mode, by, now)

    def window(self, name: str, minutes: int) -> str:
        """The window, if it can be opened on request for so long; Impossible where it cannot."""
        definition = self._windows().get(name)
        if definition is None or not _on_request(definition):
            raise Impossible("unknown_window", 404, "policy data name no such window with on_request: true")
        most = min(int(definition["most_minutes"]), MOST_WINDOW_MINUTES)
        if minutes > most:
            raise Impossible("too_long", 409, f"{name} opens for at most {most} minutes")
        return name

    def open_window(self, name: str, minutes: int, by: str, now: Now) -> dict[str, Any]:
        """Open it, or open it anew for so long from now."""
        window = self.window(name, minutes)
        before = [o for o in self._open(Sort.WINDOW, now) if o.name == window]
        return self._begin(Sort.WINDOW, name, by, minutes, before, now)

    def opened(self, name: str, now: Now) -> str:
        """The window, if it is open on request; Impossible where it is not."""
        if not any(opening.name == name for opening in self._open(Sort.WINDOW, now)):
            raise Impossible("not_open", 409, "it is not open")
        return name

    def close_window(self, name: str, now: Now) -> dict[str, Any]:
        """Close it; Impossible where it is not open."""
        return self._finish([o for o in self._open(Sort.WINDOW, now) if o.name == name], "not_open")

    def break_glass(self, by: str, minutes: int, reason: str, now: Now) -> dict[str, Any]:
        """Grants marked `break_glass` count for this person for so long. Alarmed at once."""
        before = [o for o in self._open(Sort.GLASS, now) if o.by == by]
        told = self._begin(Sort.GLASS, reason, by, minutes, before, now)
        self._alarm(
            "admin.break_glass", {"subject": by, "minutes": minutes, "reason": reason, "id": told["id"]}
        )
        return told

    def end_glass(self, subject: str, now: Now) -> dict[str, Any]:
        """It is over for that person; Impossible where they have not broken it."""
        return self._finish([o for o in self._open(Sort.GLASS, now) if o.by == subject], "not_broken")

    # inside -----------------------------------------------------------------------------------------------

    def _value(self, scope: str) -> str:
        setting = self._settings.get(scope) if self._store.damaged is None else None
        return setting.value if setting is not None else self._configured.get(scope, "")

    def _open(self, sort: Sort, now: Now) -> list[Opening]:
        if self._store.damaged is not None:
            return []
        found = [o for o, at_ns in self._openings.values() if o.sort is sort and now.mono_ns < at_ns]
        return sorted(found, key=lambda opening: opening.id)

    def _set(self, scope: str, value: str, by: str, now: Now) -> dict[str, Any]:
        before = self._value(scope)
        setting = Setting(value=value, instead_of=self._configured[scope], by=by, at_ns=now.wall_ns)
        self._keep([(SETTING, scope, setting)])
        self._settings[scope] = setting
        return {"scope": scope, "value": value, "before": before or None}

    def _begin(
        self, sort: Sort, name: str, by: str, minutes: int, before: list[Opening], now: Now
    ) -> dict[str, Any]:
        if len(self._openings) - len(before) >= MOST_OPEN:
            raise Impossible("too_many", 409, f"{MOST_OPEN} windows and broken glasses are open already")
        opening = Opening(
            id=self._ulids.next(now.wall_ns),
            sort=sort,
            name=name,
            by=by,
            from_ns=now.wall_ns,
            until_ns=now.wall_ns + minutes * MINUTE,
        )
        self._keep([*((OPENING, old.id, None) for old in before), (OPENING, opening.id, opening)])
        for old in before:
            del self._openings[old.id]
        self._openings[opening.id] = opening, now.mono_ns + minutes * MINUTE
        return {"id": opening.id, "until": _at(opening.until_ns)}

    def _finish(self, openings: list[Opening], otherwise: str) -> dict[str, Any]:
        if not openings:
            raise Impossible(otherwise, 409, "it is over already, or never began")
        self._keep([(OPENING, opening.id, None) for opening in openings])
        for opening in openings:
            del self._openings[opening.id]
        return {"id": openings[0].id}

    def _keep(self, changes: Iterable[Change]) -> None:
        try:
            self._store.write(changes)
        except StoreError as error:
            raise Impossible("not_kept", 503, str(error)) from None


def _makes_sense(scope: str, value: str) -> bool:
    return scope == MODE or value in {stage.value for stage in Stage}


def _on_request(definition: Mapping[str, Any] | None) -> bool:
    return definition is not None and definition.get("on_request") is True and "most_minutes" in definition


def _shown(opening: Opening, called: str) -> dict[str, Any]:
    return {
        called: opening.name,
        "by": opening.by,
        "since": _at(opening.from_ns),
        "until": _at(opening.until_ns),
        "id": opening.id,
    }


def _at(wall_ns: int) -> str:
    return rfc3339(wall_ns // SECOND)
