"""What a bundle says that a gateway would use, and that its author most likely did not mean.

Faults are the loader's: with one, a gateway keeps its old bundle. What is found here holds nothing up:
denials that nobody could look up, names that meet nothing, grants and windows that give nothing.
"""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.author.annotations import Speaker, speakers
from gateway.author.words import Grant
from gateway.model.errors import Fault
from gateway.policy import documents
from gateway.policy.bundle import Bundle
from gateway.policy.cache import Projection
from gateway.policy.comparisons import ITEM, Path
from gateway.policy.loader import Policy


class Severity(StrEnum):
    """What a finding means for a gateway."""

    FAULT = "fault"
    "It would keep its old bundle."
    WARNING = "warning"
    "It would use the bundle; somebody should look."


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that somebody can mend."""

    severity: Severity
    topic: str
    "`rules`, `denials`, `names`, `unused`, `cache`, or the name of a tool."
    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f" — {self.mend}" if self.mend else ""
        return f"{self.severity}: {self.where}: {self.what}{mend}"


def refused(faults: list[Fault]) -> list[Finding]:
    """Why a gateway would keep its old bundle."""
    return [
        Finding(severity=Severity.FAULT, topic="rules", where=each.where, what=each.what, mend=each.mend)
        for each in faults
    ]


def warnings(policy: Policy) -> list[Finding]:
    """Everything that is worth a look in a bundle that loads, by topic."""
    topics = (
        ("rules", policy.warnings),
        ("denials", _denials(policy)),
        ("names", [*documents.doubts(policy.bundle), *_names(policy)]),
        ("unused", _unused(policy)),
        ("cache", _spoilers(policy)),
    )
    return [
        Finding(severity=Severity.WARNING, topic=topic, where=each.where, what=each.what, mend=each.mend)
        for topic, found in topics
        for each in found
    ]


def _denials(policy: Policy) -> Iterator[Fault]:
    """A denial is seen as a code. Its comment is where a reader of records finds what it is for."""
    rules = [rule for rule in speakers(policy) if rule.path[-1] == "deny"]
    said = {(rule.path, rule.annotation.code) for rule in rules if rule.own and rule.annotation is not None}
    for rule in rules:
        if rule.own or not all((rule.path, code) in said for code in rule.codes):
            wrong = _undocumented(rule)
            if wrong is not None:
                yield Fault(rule.where, *wrong)


def _undocumented(rule: Speaker) -> tuple[str, str] | None:
    said = rule.annotation
    code = rule.codes[0] if rule.codes else "site.something"
    form = f"write above it: # METADATA, # title: …, # custom: {{code: {code}}}"
    if said is None or not (rule.own or said.document):
        return "an undocumented denial: it has no METADATA", form
    if said.broken:
        return f"an undocumented denial: its METADATA {said.broken}", form
    if not said.title:
        return "an undocumented denial: its METADATA has no title", form
    if not rule.codes:
        return "its reason code is no constant, so no record leads back to it", 'write "code": "…"'
    if not said.code:
        return "an undocumented denial: its METADATA has no custom.code", form
    if [said.code] != list(rule.codes):
        gives = ", ".join(rule.codes)
        return f"its METADATA says code {said.code}, and it gives {gives}", "let both be the same"
    return None


def _names(policy: Policy) -> Iterator[Fault]:
    """Constants that a rule compares with names of which policy data knows all."""
    known = _vocabulary(policy.bundle.data)
    for module in policy.modules:
        for rule in module.rules:
            for one in rule.comparisons:
                words = known.get(one.path)
                for constant in one.constants if words is not None else ():
                    if isinstance(constant, str) and words is not None and constant not in words[1]:
                        what = f"policy data knows no {words[0]} {json.dumps(constant)}"
                        yield Fault(f"{module.name}:{one.line}", what, _perhaps(constant, words[1]))


def _vocabulary(data: dict[str, Any]) -> dict[Path, tuple[str, set[str]]]:
    ways = data["conduits"]
    zones = {way["from"] for way in ways} | {way["to"] for way in ways}
    return {
        ("target", "asset"): ("asset", set(data["assets"])),
        ("target", "kind"): (
            "kind of asset",
            {asset["kind"] for asset in data["assets"].values()} | {"safety"},
        ),
        ("conn", "zone"): ("zone", zones),
        ("time", "windows", ITEM): ("window", set(data.get("windows", {}))),
    }


def _perhaps(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), 1)
    return f"perhaps {json.dumps(near[0])}" if near else "mend the name, or add it under data/"


def _unused(policy: Policy) -> Iterator[Fault]:
    bundle = policy.bundle
    grants = bundle.data["grants"]
    asked = {
        str(constant)
        for module in policy.modules
        for rule in module.rules
        for one in rule.comparisons
        for constant in one.constants
    }
    named = asked.union(*(grant.get("windows", ()) for grant in grants))
    for window in bundle.data.get("windows", {}):
        if window not in named:
            what = f"no grant and no rule asks for the window {window}"
            yield Fault(bundle.where(("windows", window)), what, "name it in a grant, or remove it")
    for place, grant in enumerate(grants):
        for path, what, mend in _idle(grant, bundle):
            yield Fault(bundle.where(("grants", place, *path)), f"grant {grant['id']}: {what}", mend)


def _idle(grant: Grant, bundle: Bundle) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Why a grant gives nothing, or less than it seems to."""
    protocols = grant["protocols"]
    if protocols == ["modbus"] and "modbus" not in grant:
        yield (), "gives nothing of Modbus", "say which addresses or functions: modbus: […]"
    if grant["actions"] == ["publish"] and "topics" not in grant:
        yield (), "publishes to no topic", "name the topics"
    for at, asset in enumerate(grant.get("assets", ())):
        zone = bundle.data["assets"][asset]["zone"]
        for protocol in protocols:
            ways = [
                way for way in bundle.data["conduits"] if way["to"] == zone and protocol in way["protocols"]
            ]
            if not ways:
                what = f"no conduit leads to {asset} (zone {zone}) over {protocol}, so it gives nothing there"
                yield ("assets", at), what, "add the conduit, or remove the asset"


def _spoilers(policy: Policy) -> Iterator[Fault]:
    for path in Projection(policy.paths).spoilers:
        what = f"reads input.{'.'.join(path)}, which differs in every question: no decision can be shared"
        yield Fault(policy.readers[path], what, "take time from windows, and rates from obligations")
