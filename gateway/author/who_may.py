"""Who may do what: the grants of a bundle turned round, from an asset or a tag to the people and programs."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gateway.author.words import Grant, area, listed, nodes, window
from gateway.policy.bundle import Bundle

CONDITIONS = (("modes", "in mode"), ("listeners", "by listener"), ("operations", "only"))


class Right(Struct, frozen=True, kw_only=True):
    """What one grant gives to somebody."""

    grant: str
    where: str
    who: tuple[str, ...]
    "Subjects; `any person`, or a role that nobody is bound to, where it names no more."
    what: str
    conditions: tuple[str, ...]


def who_may(bundle: Bundle, action: str, asset: str | None = None, tag: str | None = None) -> list[Right]:
    """The grants that give an action, narrowed to an asset and a tag. Other rules can still deny."""
    found = []
    for place, grant in enumerate(bundle.data["grants"]):
        if action not in grant["actions"] or (asset is not None and asset not in grant.get("assets", ())):
            continue
        if tag is not None and tag not in grant.get("tags", (tag,)):
            continue
        found.append(
            Right(
                grant=grant["id"],
                where=bundle.where(("grants", place)),
                who=tuple(dict.fromkeys(_who(grant, bundle.data))),
                what=_what(grant),
                conditions=tuple(_conditions(grant, bundle.data)),
            )
        )
    return found


def _who(grant: Grant, data: dict[str, Any]) -> Iterator[str]:
    yield from grant.get("subjects", ())
    for kind in grant.get("subject_kinds", ()):
        yield f"any {kind}"
    for role in grant.get("roles", ()):
        bound = [subject for subject, roles in data["role_bindings"].items() if role in roles]
        yield from bound or [f"nobody: role {role} is bound to no subject"]


def _what(grant: Grant) -> str:
    parts = [area(entry) for entry in grant.get("modbus", ())]
    parts += [nodes(entry) for entry in grant.get("opcua", ())] + grant.get("topics", [])
    if "tags" in grant:
        parts.append(f"tags {listed(grant['tags'])}")
    return "; ".join(parts) or listed(grant["protocols"])


def _conditions(grant: Grant, data: dict[str, Any]) -> Iterator[str]:
    for tag, limit in grant.get("limits", {}).items():
        step = f", steps of at most {limit['max_delta']}" if "max_delta" in limit else ""
        yield f"{tag} from {limit['min']} to {limit['max']}{step}"
    for name in grant.get("windows", ()):
        yield f"while {window(name, data.get('windows', {}))}"
    for key, text in CONDITIONS:
        if key in grant:
            yield f"{text} {listed(grant[key])}"
    for obligation in grant.get("obligations", ()):
        rest = ", ".join(f"{name} {value}" for name, value in obligation.items() if name != "type")
        yield f"with {obligation['type']}" + (f" ({rest})" if rest else "")
