"""Must hold 1: a real OPA server and the embedded engine agree, on decision and explanation.

Every question goes to the server by the gateway's own client, and its answer through the gateway's own
judge. `DIFFERENTIAL=100000 make test ARGS=tests/policy/test_two_engines.py` asks more.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config.settings import OpaSection
from gateway.model.decision import Decision
from gateway.model.moment import Now
from gateway.policy.crosscheck import says
from gateway.policy.engine import Engine
from gateway.policy.loader import load
from gateway.policy.remote import Remote, Unanswered
from gateway.policy.server import OpaServer
from tests.opa import OpaProcess
from tests.policy.differing import boundaries, damaged, ordinary
from tests.policy.questions import NOW, conditioned

MANY = int(os.environ.get("DIFFERENTIAL", "10000" if os.environ.get("CI") == "true" else "2000"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "62443"))
AT_ONCE = 16
WHOLE_S = 120 + MANY // 100

pytestmark = [pytest.mark.needs("opa"), pytest.mark.timeout(WHOLE_S)]


def clock() -> Now:
    return msgspec.structs.replace(NOW, mono_ns=time.monotonic_ns())


def asked(many: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """A third at the edges of the grants, a third anywhere, a third malformed."""
    dice = random.Random(seed)  # noqa: S311  dice for tests, not for secrets
    edges = boundaries(conditioned())
    dice.shuffle(edges)
    for number in range(many):
        edge = edges[number % len(edges)]
        match number % 3:
            case 0:
                yield "edge", _text(edge)
            case 1:
                yield "ordinary", _text(ordinary(dice))
            case _:
                yield "malformed", _text(damaged(dice, dice.choice((edge, ordinary(dice)))))


def _text(document: dict[str, Any]) -> bytes:
    # json, because msgspec refuses integers beyond 64 bits, and others may send them
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def said(decision: Decision | Unanswered) -> Any:
    """Of an engine that failed only that it did: the two word it each in their way."""
    if isinstance(decision, Unanswered):
        return decision
    return "failed" if decision.reasons[0].code == "engine.error" else says(decision)


async def test_decisions_and_explanations_are_equal(component: Callable[[str], str], tmp_path: Path) -> None:
    bundle = conditioned()
    engine = Engine(load(bundle))
    seen: Counter[tuple[str, str]] = Counter()
    differing: list[tuple[bytes, Any, Any]] = []
    with OpaProcess(component("opa"), tmp_path, bundle) as opa:
        server = OpaServer(OpaSection(socket=opa.socket, timeout_ms=60_000))
        await server.start()
        remote = Remote(server, 0, clock, lambda _code, _known: None)

        async def compare(kind: str, question: bytes) -> None:
            theirs, ours = said(await remote.ask(engine, question, "")), said(engine.evaluate(question, ""))
            seen[kind, ours if ours == "failed" else ours[0].__name__] += 1
            if theirs != ours:
                differing.append((question, ours, theirs))

        questions = asked(MANY, SEED)
        try:
            for _ in range(0, MANY, AT_ONCE):
                some = [one for one in (next(questions, None) for _ in range(AT_ONCE)) if one is not None]
                await asyncio.gather(*(compare(*one) for one in some))
        finally:
            await server.stop()
    assert differing[:3] == []
    assert sum(seen.values()) == remote.asked == MANY
    assert remote.unanswered == 0
    for kind in ("edge", "ordinary"):
        assert seen[kind, "Allowed"] > MANY / 150, seen
        assert seen[kind, "failed"] == 0, seen
    assert 0 < seen["malformed", "failed"] < MANY / 10, seen
