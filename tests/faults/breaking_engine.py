"""The gateway with a policy engine that can be broken while it runs.

    python -m tests.faults.breaking_engine run -c gateway.yaml

The program is the gateway's own main(). Only the engine library below it (`regorus.Engine`) is wrapped: while
the file that the environment names holds a word, its answers are what the table says. What happens then is
the gateway's own doing, from the frame on the wire to the record in the journal.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regorus

from gateway.policy import engine

WHERE = "BREAK_ENGINE"
"The environment's name for the file that says how to break."


class RustPanicError(BaseException):
    """What a panic below looks like: no Exception."""


def _raise(error: BaseException) -> Any:
    raise error


def _changed(answer: str, **fields: Any) -> str:
    """An answer that allows, but for these fields."""
    told = {**json.loads(answer), "allow": True, "grants": ["operator-recipe"], **fields}
    told["reasons"] = fields.get("reasons", [{"code": "grant.matched", "kind": "grant", "msg": "granted"}])
    return json.dumps(told)


BREAKS: dict[str, Callable[[str], Any]] = {
    "exception": lambda _: _raise(RuntimeError("the engine broke")),
    "panic": lambda _: _raise(RustPanicError("called Option::unwrap() on a None value")),
    "memory": lambda _: _raise(MemoryError()),
    "recursion": lambda _: _raise(RecursionError()),
    "true": lambda _: "true",
    "undefined": lambda _: '"<undefined>"',
    "null": lambda _: "null",
    "nothing": lambda _: "",
    "not-text": lambda _: None,
    "cut": lambda answer: answer[:-5],
    "other-schema": lambda answer: _changed(answer, schema="dmz.decision/2"),
    "allow-as-text": lambda answer: _changed(answer, allow="true"),
    "allow-as-number": lambda answer: _changed(answer, allow=1),
    "extra-field": lambda answer: _changed(answer, comment="trust me"),
    "no-reason": lambda answer: _changed(answer, reasons=[]),
    "no-grant": lambda answer: _changed(answer, grants=[]),
    "allow-with-a-denial": lambda answer: _changed(
        answer, reasons=[{"code": "site.no", "kind": "site", "msg": "no"}]
    ),
    "other-revision": lambda answer: _changed(answer, revision="0" * 64),
    "no-revision": lambda answer: _changed(answer, revision=""),
    "unknown-obligation": lambda answer: _changed(answer, obligations=[{"type": "levitate", "by": "shift"}]),
    "nameless-obligation": lambda answer: _changed(answer, obligations=[{"n": 1}]),
    "odd-rate": lambda answer: _changed(answer, obligations=[{"type": "rate", "n": "many", "per_s": 1}]),
    "odd-expiry": lambda answer: _changed(answer, obligations=[{"type": "expire"}]),
}
"Every way to break, and what the engine answers then to any question, allowed or not."


class Breaking:
    """regorus.Engine, as long as nobody breaks it."""

    def __init__(self) -> None:
        self._engine = regorus.Engine()
        self._how = Path(os.environ[WHERE])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def eval_rule_as_json(self, rule: str) -> Any:
        answer = self._engine.eval_rule_as_json(rule)
        how = self._how.read_text().strip() if self._how.exists() else ""
        return BREAKS[how](answer) if how and rule == engine.ENTRYPOINT else answer


if __name__ == "__main__":
    engine.regorus = type("regorus", (), {"Engine": Breaking})  # type: ignore[attr-defined]
    from gateway.cli import main

    sys.exit(main())
