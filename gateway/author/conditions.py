"""Which conditions of which grants a question meets: asked of core's own rules, never worked out anew.

Beside the bundle's modules the engine gets one more, which says for every grant which of its conditions do
not hold. The functions that it calls are the ones by which `dmz.grants` decides, so an explanation cannot be
of another opinion than the decision. A condition that a later core adds (a function `…_fits(grant)` in
`dmz.grants`) is found and named like the others.
"""

import json
from collections.abc import Callable
from typing import Any

import regorus
from msgspec import Struct

from gateway.model.errors import PolicyError
from gateway.policy.engine import LET_THROUGH
from gateway.policy.loader import Policy
from gateway.policy.module import engine_fault

PACKAGE = "dmz_explained"
"No bundle has it: packages are dmz, base, site, tests."
GRANTS = ("dmz", "grants")
HEAD = {
    "action": "input.op.action in grant.actions",
    "protocol": "input.op.protocol in grant.protocols",
    "asset": 'input.target.asset in object.get(grant, "assets", [null])',
}
"What core asks of a grant in its body, before any function."
OUTER = ("action", "protocol")
"Asked of every grant; the rest is asked of those that are meant for such an operation at all."
ENDINGS = ("_fits", "_fit")
ORDER = ("action", "protocol", "asset", "subject", "operation", "addresses", "tags", "limits", "topic")
"How conditions are told; others follow."


class Lacking(Struct, frozen=True):
    """A grant, and what it lacks for a question."""

    place: int
    conditions: tuple[str, ...]
    "Empty where it fits."


def lacking(policy: Policy, question: dict[str, Any]) -> list[Lacking]:
    """Every grant of the bundle, in its order. Raises PolicyError where the engine cannot be asked at all.

    Of a grant for another action or protocol only that is told: core asks nothing more of it either. A
    condition at which the engine fails does not hold, as in a decision.
    """
    engine, known = regorus.Engine(), conditions(policy)
    _guarded(lambda: _prepare(engine, policy, known, question))
    lacks: dict[int, list[str]] = {place: [] for place in range(len(policy.bundle.data["grants"]))}
    for name in known:
        for place in _places(engine, name):
            lacks[place].append(name)
    return [Lacking(place, tuple(names)) for place, names in lacks.items()]


def _prepare(engine: Any, policy: Policy, known: dict[str, str], question: dict[str, Any]) -> None:
    for name, text in policy.bundle.modules.items():
        engine.add_policy(name, text)
    engine.add_policy("explained", _module(known))
    engine.add_data_json(json.dumps(policy.bundle.indexed(), allow_nan=False))
    engine.set_input_json(json.dumps(question, allow_nan=False))


def _places(engine: Any, name: str) -> list[int]:
    """The grants that lack a condition; all that could be meant where the engine fails at it."""
    for rule in (f"lacks_{name}", "meant"):
        try:
            return list(json.loads(engine.eval_rule_as_json(f"data.{PACKAGE}.{rule}")))
        except LET_THROUGH:
            raise
        except BaseException:  # noqa: BLE001, S112  panics are no Exception; the next rule is what can be said
            continue
    return []


def _guarded(run: Callable[[], None]) -> None:
    try:
        run()
    except LET_THROUGH:
        raise
    except BaseException as error:  # noqa: BLE001  panics are no Exception
        raise PolicyError([engine_fault("explained", error)]) from None


def conditions(policy: Policy) -> dict[str, str]:
    """Condition -> the expression that holds where a `grant` meets it."""
    rules = [
        (rule, rule.path[-1])
        for module in policy.modules
        for rule in module.rules
        if rule.path[: len(GRANTS)] == GRANTS and rule.named == ("grant",) and rule.parameters == 1
    ]
    known = {name for _, name in rules if name.endswith(ENDINGS)}
    joining = {
        name
        for rule, name in rules
        if name in known and any(call.path[-1] in known - {name} for call in rule.calls if call.path)
    }
    functions = {name.rpartition("_")[0]: f"data.dmz.grants.{name}(grant)" for name in known - joining}
    return dict(sorted((HEAD | functions).items(), key=lambda item: (_rank(item[0]), item[0])))


def _module(known: dict[str, str]) -> str:
    rules = [
        f"lacks_{name} contains place if {{\n"
        f"\tsome place in {'every_grant' if name in OUTER else 'meant'}\n"
        f"\tgrant := data.grants[place]\n\tnot {expression}\n}}\n"
        for name, expression in known.items()
    ]
    return _HEAD + "\n".join(rules)


_HEAD = f"""package {PACKAGE}

import future.keywords.not

every_grant contains place if some place, _ in data.grants

meant contains place if {{
	some place, grant in data.grants
	{HEAD["action"]}
	{HEAD["protocol"]}
}}

"""


def _rank(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
