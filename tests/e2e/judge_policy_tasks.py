"""Judges a folder of answers to docs/guides/policy-author-tasks.md.

    python -m tests.e2e.judge_policy_tasks answers/ [--json]

Each answer is a bundle. It must load with its tests, and answer the questions here: what the task asked for,
and what was to stay. How the rules are written is the author's. Exit 0: all five; 1: not all.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway.author.answers import Answers, answer_of
from gateway.model.errors import PolicyError
from gateway.policy import bundle
from gateway.policy.bundle import parse_yaml
from gateway.policy.decider import prepare
from gateway.policy.testing import patched
from gateway.shipped import folder

Question = dict[str, Any]
Patch = dict[str, Any]
PLANT = "spiffe://demo.example/plant"
BASES: dict[str, Question] = parse_yaml(
    "bases.yaml", (folder("policies") / "tests" / "bases.yaml").read_text()
)["bases"]


class Ask(Struct, frozen=True):
    """One question, and what must come."""

    what: str
    base: str
    allow: bool
    patch: Patch = {}
    code: str | None = None
    "One that must be among the reasons."


def level(value: int, before: int) -> Patch:
    """The set point becomes that."""
    point = {"tag": "plc-1.level_sp", "q": value, "q_prev": before, "age_ms": 500}
    return {"modbus": {"values": [value]}, "points": [point]}


def viewer(name: str, *roles: str) -> Patch:
    """Somebody at a view station."""
    return {"subject": {"id": f"{PLANT}/{name}", "roles": list(roles)}}


AT_WORK: Patch = {"time": {"windows": ["working-hours"]}}
STARTING: Patch = {"state": {"mode": "startup"}}
STAYS = (
    Ask("the operator still reads", "read", True),
    Ask("view-1 still reads", "read", True, viewer("view-1", "viewer")),
    Ask("a stranger still does not", "read", False, viewer("hmi-2", "operator")),
    Ask("the gateway still polls", "poll", True),
    Ask("the historian still fetches", "fetch", True),
    Ask("the pump's speed is still set locally", "write", False, {"modbus": {"start": 1}}),
)
"What none of the tasks touches."
LEVEL = Ask("the operator still sets the level", "write", True)
PUMP = Ask("the operator still starts the pump", "pump", True)

TASKS: dict[str, tuple[Ask, ...]] = {
    "1": (
        Ask("view-2 reads", "read", True, viewer("view-2", "viewer")),
        Ask("view-2 writes nothing", "write", False, viewer("view-2", "viewer")),
        Ask("view-2 starts no pump", "pump", False, viewer("view-2", "viewer")),
        Ask("view-2 claims to be an operator", "write", False, viewer("view-2", "operator")),
        Ask("view-2 claims nothing", "read", False, viewer("view-2")),
        Ask("view-3 claims to be a viewer", "read", False, viewer("view-3", "viewer")),
        LEVEL,
        PUMP,
    ),
    "2": (
        Ask("20 % is allowed", "write", True, level(200, 250)),
        Ask("19.9 % is not", "write", False, level(199, 240)),
        Ask("60 % is allowed", "write", True, level(600, 550)),
        Ask("60.1 % is not", "write", False, level(601, 560)),
        Ask("a step of 5.1 % is not", "write", False, level(451, 400)),
        Ask("nor one down", "write", False, level(349, 400)),
        LEVEL,
        PUMP,
    ),
    "3": (
        Ask("not outside the window", "pump", False),
        Ask("in the window", "pump", True, AT_WORK),
        Ask(
            "not while nobody believes the clock",
            "pump",
            False,
            patched(AT_WORK, {"time": {"trusted": False}}),
        ),
        Ask("the level at any time", "write", True),
        Ask("the level in the window too", "write", True, AT_WORK),
    ),
    "4": (
        Ask("the level is not set", "write", False),
        Ask("the pump is not started", "pump", False),
        Ask("not even by who broke the glass", "rescue", False),
        Ask("nor by the vendor", "tune", False),
    ),
    "5": (
        Ask("the level is not set during start-up", "write", False, STARTING, code="site.startup"),
        Ask("nor is the pump started", "pump", False, STARTING, code="site.startup"),
        Ask("reading goes on", "read", True, STARTING),
        Ask("other modes are as they were", "write", True, {"state": {"mode": "maintenance"}}),
        LEVEL,
        PUMP,
    ),
}


def judge(answer: Path, task: str) -> list[str]:
    """What is wrong with an answer; nothing where it is right."""
    try:
        policy = prepare(bundle.read(answer))
    except PolicyError as error:
        return [str(fault) for fault in error.faults]
    wrong = [f"a test of its own fails: {warning}" for warning in policy.warnings]
    if task == "5" and not any("site.startup" in text for text in policy.bundle.tests.values()):
        wrong.append("no test of its own expects site.startup")
    answers = Answers(policy)
    for ask in (*TASKS[task], *STAYS):
        question = patched(BASES[ask.base], ask.patch)
        if question["target"]["asset"] is not None:  # a gateway's configuration says the same as the data
            question["target"]["kind"] = policy.bundle.data["assets"][question["target"]["asset"]]["kind"]
        came = answer_of(answers.decide(question))
        codes = [code for code, _ in came.codes]
        if came.allow is not ask.allow:
            wrong.append(f"{ask.what}: {'allowed' if came.allow else 'denied'} ({', '.join(codes)})")
        elif ask.code is not None and ask.code not in codes:
            wrong.append(f"{ask.what}: denied, but not by {ask.code} ({', '.join(codes)})")
    return wrong


def main(words: list[str]) -> int:
    """Judge all five."""
    parser = argparse.ArgumentParser(description="judges answers to docs/guides/policy-author-tasks.md")
    parser.add_argument("answers", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    found = {task: judge(args.answers / task, task) for task in TASKS}
    lines = [json.dumps(found, indent=2)] if args.json else []
    for task, wrong in found.items() if not args.json else ():
        lines += [f"task {task}: {'right' if not wrong else 'not yet'}", *(f"  {line}" for line in wrong)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
