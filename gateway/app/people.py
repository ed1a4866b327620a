"""People: what they agreed to and set, and the API by which they do."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.admin import approval_routes, posture_routes
from gateway.admin.api import AdminApi
from gateway.admin.approvals import Approvals
from gateway.admin.posture import Posture
from gateway.admin.route import Route
from gateway.admin.store import Store
from gateway.audit.journal import Journal
from gateway.config.settings import Settings
from gateway.guard.passage import Door
from gateway.identity.trust import ZoneTrust
from gateway.model.moment import Now
from gateway.model.stage import Stage
from gateway.model.ulid import Ulids

FILE = "people.db"
"In `state/`: approvals, stages, windows, broken glass."


class People:
    """What people agreed to and set.

    Without an admin section nobody can any more; what was set before stays until the configuration says
    something other than it did then.
    """

    def __init__(
        self,
        settings: Settings,
        state: Path,
        *,
        trust: Mapping[str, ZoneTrust],
        windows: Callable[[], Mapping[str, Mapping[str, Any]]],
        journal: Journal,
        ulids: Ulids,
        count: Callable[[str], None],
        alarm: Callable[[str, dict[str, Any]], None],
        now: Now,
    ) -> None:
        """`windows` gives `data.windows` of the active bundle."""
        self.settings = settings
        self.store = Store(state / FILE)
        self.posture = Posture(
            self.store,
            mode=settings.gateway.mode,
            stages=_stages(settings),
            windows=windows,
            journal=journal,
            ulids=ulids,
            alarm=alarm,
            now=now,
        )
        self.approvals: Approvals | None = None
        if settings.admin is not None:
            self.approvals = Approvals(
                self.store,
                gateway=settings.gateway.name,
                admit=trust[settings.admin.zone].admit,
                journal=journal,
                ulids=ulids,
                count=count,
                alarm=alarm,
                most_pending=settings.admin.most_pending,
                now=now,
            )

    def api(
        self,
        more: Sequence[Route],
        *,
        door: Door,
        clock: Callable[[], Now],
        count: Callable[[str], None],
        changed: Callable[[], None],
    ) -> AdminApi | None:
        """The API, with rows of other parts; None where no admin section is configured."""
        if self.approvals is None:
            return None
        rows = (
            *approval_routes.routes(self.approvals, self.settings.gateway.name),
            *posture_routes.routes(self.posture),
            *more,
        )
        return AdminApi(rows, door=door, clock=clock, count=count, changed=changed)

    def sweep(self, now: Now) -> None:
        """End what is over."""
        self.posture.sweep(now)
        if self.approvals is not None:
            self.approvals.sweep(now)

    def status(self, now: Now) -> dict[str, Any]:
        """Stages, mode, what is open until when, and what waits."""
        approvals = self.approvals.status() if self.approvals is not None else None
        return {**self.posture.status(now), "approvals": approvals}

    def close(self) -> None:
        """Close the store: nothing is agreed to any more."""
        self.store.close()


def _stages(settings: Settings) -> dict[str, Stage | None]:
    """What is configured, by scope."""
    listeners = {f"listener:{each.name}": each.stage for each in settings.listeners}
    return listeners | {f"asset:{each.name}": each.stage for each in settings.assets}
