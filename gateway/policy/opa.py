"""OPA as the second opinion: the same bundle, the same questions, another engine.

Used by `policy test` where the program `opa` is there, and by our tests. Not a way to decide operations.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.model.decision import Decision
from gateway.model.errors import Fault, PolicyError
from gateway.policy import testing
from gateway.policy.engine import ENTRYPOINT, Engine
from gateway.policy.loader import Policy
from gateway.policy.testing import Result

TIMEOUT_S = 120.0
"More than a run over tens of thousands of questions takes; beyond it OPA hangs."


def run(policy: Policy, program: str) -> list[Result]:
    """The bundle's own tests, Rego and tables, on OPA."""
    with _written(policy) as folder:
        (folder / "data.json").write_text(json.dumps(policy.bundle.stamped()))  # tests replace the grants
        results = [_result(found, policy) for found in _opa_test(program, folder)]
    rows = testing.rows(policy)
    decisions = decide(policy, [row.question for row in rows], program)
    return results + [
        testing.judge(row, decision, policy) for row, decision in zip(rows, decisions, strict=True)
    ]


def decide(policy: Policy, questions: Sequence[Any], program: str) -> list[Decision]:
    """OPA's decision on each question, judged as strictly as the embedded engine's."""
    engine = Engine(policy)
    query = f"[answer | some question in input; answer := {ENTRYPOINT} with input as question]"
    with _written(policy) as folder:
        command = [program, "eval", "--bundle", str(folder), "--stdin-input", "--format", "json", query]
        done = _run(command, json.dumps(list(questions)))
    answers = json.loads(done)["result"][0]["expressions"][0]["value"]
    if len(answers) != len(questions):
        raise PolicyError(
            [Fault("core", "OPA finds some decisions undefined", "check the bundle with opa eval")]
        )
    return [
        engine.judge(json.dumps(answer), json.dumps(question).encode(), "")
        for question, answer in zip(questions, answers, strict=True)
    ]


@contextmanager
def _written(policy: Policy) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dmz-policy-") as name:
        folder = Path(name)
        policy.bundle.write_to(folder)
        yield folder


def _opa_test(program: str, folder: Path) -> list[dict[str, Any]]:
    text = _run([program, "test", "--bundle", "--format", "json", str(folder)], "", (0, 2))
    return list(json.loads(text or "[]") or [])


def _result(found: dict[str, Any], policy: Policy) -> Result:
    place = found["location"]
    failed = bool(found.get("fail") or found.get("error"))
    name = next((name for name in policy.bundle.tests if str(place["file"]).endswith(name)), place["file"])
    return Result(
        name=f"{found['package'].removeprefix('data.')}.{found['name']}",
        where=f"{name}:{place['row']}",
        passed=not failed,
        detail=str(found.get("error") or "is not true") if failed else "",
        obstacle=failed,
    )


def _run(command: list[str], text: str, good: tuple[int, ...] = (0,)) -> str:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PolicyError(
            [Fault(command[0], f"OPA cannot be run: {error}", "leave it out: --no-opa")]
        ) from None
    if done.returncode not in good:
        said = (done.stderr or done.stdout).strip()[:2000]
        raise PolicyError([Fault("bundle", f"OPA refuses it: {said}", "check it with `opa check --strict`")])
    return done.stdout
