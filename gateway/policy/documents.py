"""Policy data: checked by schema, and grants kept within bounds.

A site widens what is allowed by writing grants, so the bounds of data/bounds.yaml and the class of an asset
are checked when the bundle is loaded: a grant beyond them never reaches an engine.
"""

import json
from collections.abc import Container, Iterator
from functools import cache
from zoneinfo import ZoneInfo

from jsonschema import Draft202012Validator, ValidationError

from gateway import shipped
from gateway.model.errors import Fault
from gateway.policy import grants
from gateway.policy.bundle import Bundle
from gateway.policy.facts import on_request
from gateway.policy.grants import WRITING


@cache
def schema(name: str) -> Draft202012Validator:
    """`input`, `decision` or `data`: the product's own, never the bundle's."""
    text = (shipped.folder("policies") / "schemas" / f"{name}.json").read_text()
    return Draft202012Validator(json.loads(text))


def faults(bundle: Bundle) -> list[Fault]:
    """Everything wrong with the data. Grants are held against bounds only once the form is right."""
    found = [
        Fault(bundle.where(_path(error)), _said(error.message), _mend(error))
        for error in schema("data").iter_errors(bundle.data)
    ]
    if found:
        return found
    found += _windows(bundle)
    seen: set[str] = set()
    for place, grant in enumerate(bundle.data["grants"]):
        if grant["id"] in seen:
            where = bundle.where(("grants", place, "id"))
            found.append(Fault(where, f"there are two grants {grant['id']}", "give each its own id"))
        seen.add(grant["id"])
        for path, what, mend in grants.excess(grant, bundle.data):
            found.append(Fault(bundle.where(("grants", place, *path)), f"grant {grant['id']}: {what}", mend))
    return found


def write_granted_assets(bundle: Bundle) -> dict[str, list[str]]:
    """Asset -> ids of the grants with which somebody may write to it or call it."""
    granted: dict[str, list[str]] = {}
    for grant in bundle.data.get("grants", ()):
        if WRITING.intersection(grant["actions"]):
            for asset in grant.get("assets", ()):
                granted.setdefault(asset, []).append(grant["id"])
    return granted


def doubts(bundle: Bundle) -> Iterator[Fault]:
    """Names in grants and bindings that meet nothing: right in form, and most likely mistyped."""
    bindings, rights = bundle.data["role_bindings"], bundle.data["grants"]
    bound = {role for roles in bindings.values() for role in roles}
    granted = {role for grant in rights for role in grant.get("roles", ())}
    granted |= {grant["approval"]["by"] for grant in rights if "approval" in grant}
    for place, grant in enumerate(rights):
        for key, known, mend in (
            ("roles", bound, "mend the name, or bind it to somebody in role_bindings"),
            ("subjects", bindings, "mend the name, or list it in role_bindings (`[]` gives no role)"),
        ):
            for at, name in enumerate(grant.get(key, ())):
                if name not in known:
                    what = f"grant {grant['id']}: role_bindings know no {key[:-1]} {name}"
                    yield Fault(bundle.where(("grants", place, key, at)), what, mend)
        by = grant.get("approval", {}).get("by")
        if by is not None and by not in bound:
            what = f"grant {grant['id']}: nobody has the role {by}, so nobody can approve"
            where = bundle.where(("grants", place, "approval", "by"))
            yield Fault(where, what, "mend the name, or bind it to somebody in role_bindings")
    for subject, roles in bindings.items():
        for at, role in enumerate(roles):
            if role not in granted:
                what = f"{subject} has the role {role}, which no grant names"
                yield Fault(bundle.where(("role_bindings", subject, at)), what, "mend the name, or grant it")


def tags_named(bundle: Bundle, assets: Container[str]) -> Iterator[tuple[str, str]]:
    """Every tag that grants and bounds name of these assets, each with its place: what tags are is known to
    the configuration. A tag that only grants about other assets name is theirs.
    """
    here: set[str] = set()
    elsewhere: set[str] = set()
    for place, grant in enumerate(bundle.data["grants"]):
        ours = "assets" not in grant or any(asset in assets for asset in grant["assets"])
        for key in ("tags", "limits"):
            (here if ours else elsewhere).update(grant.get(key, ()))
        for at, tag in enumerate(grant.get("tags", ()) if ours else ()):
            yield tag, bundle.where(("grants", place, "tags", at))
        for tag in grant.get("limits", {}) if ours else ():
            yield tag, bundle.where(("grants", place, "limits", tag))
    for tag in bundle.data["bounds"]["limits"]:
        if tag in here or tag not in elsewhere:
            yield tag, bundle.where(("bounds", "limits", tag))


def _windows(bundle: Bundle) -> Iterator[Fault]:
    for name, window in bundle.data.get("windows", {}).items():
        if on_request(window):
            continue
        where = bundle.where(("windows", name, "zone"))
        try:
            ZoneInfo(window["zone"])
        except (OSError, ValueError, KeyError):
            yield Fault(
                where,
                f"{window['zone']} is no time zone here",
                "use an IANA name (Europe/Berlin), or install tzdata",
            )
        if window["from"] == window["to"]:
            yield Fault(where, f"window {name} is empty or endless", "let it end later than it begins")


def _path(error: ValidationError) -> tuple[str | int, ...]:
    """Where it is wrong; jsonschema places a wrong name at the object that has it."""
    name = (error.instance,) if "propertyNames" in error.absolute_schema_path else ()
    return (*error.absolute_path, *name)


def _said(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:200]}…"


def _mend(error: ValidationError) -> str:
    return f"see policies/schemas/data.json ({error.validator})"
