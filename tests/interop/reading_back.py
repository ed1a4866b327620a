"""Reads back for the benches: the gateway's own identity, alarms as findings in the stage's journal."""

from collections.abc import Callable
from typing import Any

from gateway.model.moment import Now
from gateway.model.record import RecordKind
from gateway.relay.readback import ReadBack
from gateway.relay.tasks import Tasks
from tests.scenarios.north import GATEWAY
from tests.scenarios.stage import Stage


class Unknown:
    """Nothing is known of any tag."""

    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


def read_back(stage: Stage, tasks: Tasks, now: Callable[[], Now]) -> ReadBack:
    def alarm(code: str, known: dict[str, Any]) -> None:
        stage.counted.append(f"alarm {code}")
        stage.journal.event(RecordKind.FINDING, {"alarm": code, **known}, now(), source="internal")

    return ReadBack(door=stage.door, me=GATEWAY, last=Unknown(), tasks=tasks, clock=now, alarm=alarm)
