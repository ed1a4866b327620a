"""A decision explained: which rules spoke, which grants matched and how, or what was missing and how little.

The question is asked again of the very bundle that decided, so an explanation is what the policy says and not
what somebody remembers of it. Where the record says otherwise, that is told first.
"""

from typing import Any

from msgspec import Struct

from gateway.author import annotations, words
from gateway.author.conditions import Lacking, conditions, lacking
from gateway.author.nearest import Asking, Change, Near, codes, nearest, own_grant
from gateway.author.otherwise import Straddle, otherwise, straddled
from gateway.author.sides import Side, View, names, side
from gateway.author.words import Question, Units, no_units
from gateway.model.decision import Allowed, Decision, Reason
from gateway.policy.loader import Policy

BEYOND_GRANTS = ("guardrail", "base", "site")
"Kinds of reasons that no grant can help against."
FIRST = ("wire", "engine", "obligation", *BEYOND_GRANTS, "grant", "default")
"Kinds of reasons, those that decide first."
OF_USER = "guardrail.on_behalf_of"
"A guardrail that a grant helps against: what the user on top lacks."
OF_CORE = "dmz"


class Spoke(Struct, frozen=True, kw_only=True):
    """A reason, and the rule that gave it."""

    code: str
    kind: str
    message: str
    where: str = ""
    "File and line of each rule that gives the code; empty where none does: it is the gateway's own."
    title: str = ""
    standard: str = ""


class Matched(Struct, frozen=True, kw_only=True):
    """A grant that gave it."""

    grant: str
    where: str
    conditions: tuple[Side, ...]
    "Those that it names, each of which held."


class Explanation(Struct, frozen=True, kw_only=True):
    """Everything that is told of one decision."""

    decision: str
    "`allow` or `deny`: what the bundle says."
    sentence: str
    revision: str
    spoke: tuple[Spoke, ...]
    matched: tuple[Matched, ...] = ()
    obligations: tuple[str, ...] = ()
    no_grant_helps: bool = False
    "A guardrail, base or site denies: nothing that could be granted changes it."
    straddle: str = ""
    nearest: tuple[Near, ...] = ()
    otherwise: tuple[Change, ...] = ()
    "What would be allowed as policy is."
    own_grant: dict[str, Any] | None = None
    "The grant that gives exactly this and nothing more; asked of the policy, and allowed."
    differs: str = ""
    "What was recorded, where it is not this."


def explain(
    policy: Policy, question: Question, units: Units = no_units, recorded: dict[str, Any] | None = None
) -> Explanation:
    """Explain a `dmz.input/1`; `recorded` is the `why` of its record. Raises PolicyError if it cannot be."""
    asking = Asking(policy, View(question, policy.bundle, units))
    decision = asking.decision(question)
    unmet = _unmet(recorded or {})
    differs = (
        "" if recorded is None or (unmet and isinstance(decision, Allowed)) else _differs(decision, recorded)
    )
    found = lacking(policy, question)
    if isinstance(decision, Allowed):
        return _allowed(asking, decision, found, unmet, differs)
    return _denied(asking, decision, found, differs)


def _unmet(recorded: dict[str, Any]) -> tuple[Reason, ...]:
    """What the gateway itself denied by, after policy had allowed: an obligation that could not be met."""
    reasons = [one for one in recorded.get("reasons") or () if isinstance(one, dict)]
    if recorded.get("decision") == "allow" or any(one.get("kind") != "obligation" for one in reasons):
        return ()
    return tuple(Reason(str(one["code"]), "obligation", str(one.get("msg") or "")) for one in reasons)


def _allowed(
    asking: Asking, decision: Allowed, found: list[Lacking], unmet: tuple[Reason, ...], differs: str
) -> Explanation:
    view = asking.view
    matched = tuple(_matched(each, asking) for each in found if _counts_for(each, decision, view))
    given = f"{words.listed(f'grant {each.grant}' for each in matched)} gives it"
    who, what = words.subject(view.question), words.wish(view.question, view.units)
    sentence = f"{who} may {what}: {given}, and no rule denies it."
    if unmet:
        sentence = f"{who} may not {what}: {given}, but {unmet[0].msg or unmet[0].code}."
    return Explanation(
        decision="deny" if unmet else "allow",
        sentence=sentence,
        revision=decision.revision,
        spoke=_spoke(asking.policy, unmet or decision.reasons),
        matched=matched,
        obligations=tuple(
            " ".join([one.type, *(f"{name} {value}" for name, value in one.params)])
            for one in decision.obligations
        ),
        differs=differs,
    )


def _counts_for(each: Lacking, decision: Allowed, view: View) -> bool:
    """Whether it gives this to the subject, or to the user on top of it."""
    of_user = each.conditions == ("subject",) and view.data["grants"][each.place]["id"] in decision.grants
    return not each.conditions or of_user


def _matched(each: Lacking, asking: Asking) -> Matched:
    view = asking.view
    grant = view.data["grants"][each.place]
    held = [name for name in conditions(asking.policy) if names(name, grant) and _counts(name, view)]
    return Matched(
        grant=grant["id"],
        where=view.bundle.where(("grants", each.place)),
        conditions=tuple(side(name, each.place, view) for name in held),
    )


def _counts(condition: str, view: View) -> bool:
    """Limits are for what changes something; topics for publications."""
    wanted = {"limits": ("write", "call"), "topic": ("publish",)}.get(condition)
    return wanted is None or view.question["op"]["action"] in wanted


def _denied(asking: Asking, decision: Decision, found: list[Lacking], differs: str) -> Explanation:
    view = asking.view
    reasons = sorted(decision.reasons, key=_rank)
    beyond = [reason for reason in reasons if reason.kind in BEYOND_GRANTS and reason.code != OF_USER]
    only_user = {reason.code for reason in reasons} == {OF_USER}
    near = () if beyond or only_user else tuple(nearest(asking, found))
    straddle = None if beyond or only_user else straddled(view, found)
    own = None if beyond else own_grant(asking, for_user=only_user)
    told = f"{words.subject(view.question)} may not {words.wish(view.question, view.units)}"
    return Explanation(
        decision="deny",
        sentence=f"{told}: {_because(reasons, near, straddle)}.",
        revision=decision.revision,
        spoke=_spoke(asking.policy, tuple(reasons)),
        no_grant_helps=bool(beyond),
        straddle=straddle.said if straddle else "",
        nearest=near,
        otherwise=tuple(otherwise(asking, found, straddle)),
        own_grant=own[0] if own is not None and own[1].would_allow else None,
        differs=differs,
    )


def _because(reasons: list[Reason], near: tuple[Near, ...], straddle: Straddle | None) -> str:
    """The one thing that a person should hear first."""
    if straddle is not None:
        return straddle.said
    if near and reasons[0].kind in ("grant", "default"):
        lacks = near[0].lacks[0]
        more = f", and {len(near[0].lacks) - 1} more" if len(near[0].lacks) > 1 else ""
        return f"the nearest grant, {near[0].grant}, gives {lacks.gives}; asked was {lacks.asked}{more}"
    return reasons[0].msg or reasons[0].code


def _rank(reason: Reason) -> tuple[int, str]:
    return (FIRST.index(reason.kind) if reason.kind in FIRST else len(FIRST)), reason.code


def _spoke(policy: Policy, reasons: tuple[Reason, ...]) -> tuple[Spoke, ...]:
    """Each reason with its rule: those that can give the code, in packages of its kind."""
    known = annotations.by_code(policy)
    told = []
    for reason in reasons:
        roots = (reason.kind,) if reason.kind in ("base", "site") else (OF_CORE,)
        rules = [each for each in known.get(reason.code, ()) if each.path[0] in roots]
        said = rules[0].annotation if rules else None
        told.append(
            Spoke(
                code=reason.code,
                kind=reason.kind,
                message=reason.msg,
                where=" or ".join(each.where for each in rules),
                title=said.title if said is not None else "",
                standard=said.standard if said is not None else "",
            )
        )
    return tuple(dict.fromkeys(told))


def _differs(decision: Decision, recorded: dict[str, Any]) -> str:
    """Where a record says otherwise than the bundle does now: an obligation, an engine failure."""
    if recorded.get("decision") == "would_deny" and not isinstance(decision, Allowed):
        return "it was let through: the listener or the asset is not enforced yet"
    was = "deny" if recorded.get("decision") == "would_deny" else recorded.get("decision")
    now = "allow" if isinstance(decision, Allowed) else "deny"
    reasons = [reason for reason in recorded.get("reasons") or () if isinstance(reason, dict)]
    before = sorted({str(reason.get("code")) for reason in reasons})
    if was == now and (now == "allow" or before == codes(decision)):
        return ""
    said = "; ".join(f"{reason.get('code')} ({reason.get('msg')})" for reason in reasons)
    verb = {"deny": "denied", "allow": "allowed"}
    return f"recorded was: {verb.get(str(was), was)} by {said}. The bundle itself says: {verb[now]}"
