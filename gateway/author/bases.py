"""Where the grid starts from: for each grant of a bundle, questions that it allows as they stand.

A base is made from the grant's own conditions, asked by somebody whom it names, from a zone with a conduit,
on a good day: certificates fresh, the clock trusted, nothing frozen. Which of the possible callers that is,
the bundle itself says. Where nobody is allowed (a rule denies it, whoever asks) the base stands all the same:
another bundle may allow it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from msgspec import Struct

from gateway.author.form import Question, complete, fields
from gateway.author.hours import MINUTE
from gateway.author.vocabulary import MONDAY, Vocabulary
from gateway.wire.modbus.functions import name

ULID = "01K00000000000000000000000"
NOON = MONDAY + 12 * 60 * MINUTE
GLASS = "01K00000000000000000000001"
APPROVAL = "01K00000000000000000000002"
READS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITES = {"coil": 15, "discrete": 15, "holding": 16, "input": 16}
MOST_ASSETS = 12
"Assets of one grant that get a base each; further ones are tried as variations of these."

Allows = Callable[[Question], bool]
Grant = Mapping[str, Any]

APPLICATION = {"kind": "workload", "auth": "opcua"}
CALLERS: tuple[dict[str, str], ...] = (
    {"kind": "workload", "auth": "mtls"},
    APPLICATION,
    {"kind": "gateway", "auth": "internal"},
    {"kind": "person", "auth": "mtls"},
    {"kind": "local", "auth": "control"},
    {"kind": "nobody", "auth": "none"},
)
"Kinds of callers, each as it proves itself; the first that is allowed is the base's."
USERS = ("user:", "token:")
"Subjects that are never by themselves: they stand on top of an application."


class Base(Struct, frozen=True):
    """A question to vary."""

    name: str
    question: Question
    grant: Grant


def bases(
    grants: Sequence[Grant], data: Mapping[str, Any], words: Vocabulary, allows: Allows
) -> Iterator[Base]:
    """The bases of some grants of a bundle with that data."""
    for grant in grants:
        for at, place in enumerate(_places(grant)):
            found = _called(_question(grant, place, words), grant, data, words, allows)
            yield Base(f"{grant['id']}{f'.{at}' if at else ''}", found, grant)


Place = tuple[str, str, str | None, Mapping[str, Any]]
"Action, protocol, asset, and what of the protocol is addressed."


def _places(grant: Grant) -> Iterator[Place]:
    for action in grant["actions"]:
        for protocol in grant["protocols"]:
            for asset in grant.get("assets", (None,))[:MOST_ASSETS]:
                for half in _halves(grant, action, protocol):
                    yield action, protocol, asset, half


def _halves(grant: Grant, action: str, protocol: str) -> Iterator[Mapping[str, Any]]:
    match protocol:
        case "modbus":
            for area in grant.get("modbus", ()):
                yield from _targets(area, action)
        case "opcua":
            for area in grant.get("opcua", ({},)):
                yield _node(area, action)
        case "mqtt":
            for topic in grant.get("topics", ("status",)):
                consumer = grant.get("consumers", ("broker",))[0]
                form = grant.get("formats", ("json",))[0]
                yield {"topic": topic.replace("/#", "/a"), "consumer": consumer, "format": form}
        case "https" if action not in ("write", "admin"):
            topic = next(iter(grant.get("topics", ())), None)
            consumer = grant.get("consumers", ("client",))[0]
            form = grant.get("formats", ("json",))[0]
            yield {"topic": topic and topic.replace("/#", "/a"), "consumer": consumer, "format": form}
        case _:
            yield {}


def _targets(area: Mapping[str, Any], action: str) -> Iterator[Mapping[str, Any]]:
    codes = area.get("fcs") or [(READS if action == "read" else WRITES)[area["table"]]]
    for code in codes:
        if "table" in area:
            for first, last in area["ranges"]:
                yield {
                    "fc": code,
                    "table": area["table"],
                    "start": first,
                    "count": min(last - first + 1, 100),
                }
        elif "subs" in area:
            yield from ({"fc": code, "sub": sub} for sub in area["subs"])
        elif "meis" in area:
            yield from ({"fc": code, "mei": mei, "sub": 1, "start": 0} for mei in area["meis"])
        elif "files" in area:
            for file, _ in area["files"]:
                for record, last in area["records"]:
                    yield {"fc": code, "file": file, "record": record, "count": last - record + 1}
        else:
            yield {"fc": code}


def _node(area: Mapping[str, Any], action: str) -> Mapping[str, Any]:
    """The half of a node, with the first of whatever the grant names."""
    services = {"read": "Read", "write": "Write", "call": "Call", "browse": "Browse"}
    first = {
        name.removesuffix("s"): value[0].replace("*", "x").replace("#", "x")
        for name, value in area.items()
        if isinstance(value, list) and value and isinstance(value[0], str)
    }
    bounded: dict[str, Any] = {}
    if "arguments" in area:
        bounded["arguments"] = [
            each.get("min", next(iter(each.get("one_of", ())), 0)) for each in area["arguments"]
        ]
    if "min_interval_ms" in area:
        bounded["sampling_ms"] = bounded["publishing_ms"] = area["min_interval_ms"]
    if "most_history_s" in area:
        bounded["history_start_ns"] = bounded["history_end_ns"] = NOON
    channel = {"security": "Basic256Sha256", "mode": "SignAndEncrypt"}
    made = {"service": services.get(action, "CreateMonitoredItems"), "attribute": "Value", **channel}
    return {**made, **first, **bounded}


def _question(grant: Grant, place: Place, words: Vocabulary) -> Question:
    action, protocol, asset, half = place
    changes = action in ("write", "call")
    about = words.assets.get(asset or "", {})
    named = f"modbus.{name(half['fc'])}" if protocol == "modbus" else f"{protocol}.{action}"
    kind = grant.get("operations", (named,))[0]
    north = protocol in ("https", "mqtt") and not changes
    question: Question = {
        "schema": "dmz.input/1",
        "op": {
            "id": ULID,
            "protocol": protocol,
            "action": action,
            "kind": kind,
            "direction": "admin"
            if action == "admin" or protocol == "control"
            else "to_it"
            if north
            else "to_ot",
        },
        "subject": {
            "id": "",
            "kind": "workload",
            "auth": "opcua" if protocol == "opcua" else "mtls",
            "zone": "plant",
            "roles": [],
            "role_state": "ok",
        },
        "conn": {"zone": "plant", "src": "192.0.2.7", "listener": "grid", "tls": "1.3"},
        "target": {"asset": asset, "kind": about.get("kind"), "endpoint": None},
        "modbus": {"unit": 1, **_rest(half)} if protocol == "modbus" else None,
        "opcua": _whole_node(half) if protocol == "opcua" else None,
        "northbound": dict(half) if protocol in ("https", "mqtt") and half else None,
        "admin": None,
        "points": points(grant, words) if changes or grant.get("tags") else [],
        "state": {
            "mode": grant.get("modes", ("run",))[0],
            "freeze": False,
            "writes_60s": 0 if changes or action == "admin" else None,
            "approval": None,
            "break_glass": GLASS if grant.get("break_glass") else None,
            "crl": "fresh",
            "clock": "trusted",
        },
        "time": {"ns": NOON, "windows": list(grant.get("windows", ())), "trusted": True},
    }
    question["subject"] |= {
        "cert": {"sha256": "00", "serial": "01", "issuer": "CN=Grid", "ski": "02"},
        "on_behalf_of": None,
    }
    complete(question)
    return question


def _rest(half: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: half.get(name) for name in fields("modbus") if name != "unit"}


def _whole_node(half: Mapping[str, Any]) -> Question:
    return {name: half.get(name) for name in fields("opcua")}


def points(grant: Grant, words: Vocabulary) -> list[dict[str, Any]]:
    """The first tag that the grant names, set within its limits from where it is."""
    tag = next(iter((*grant.get("tags", ()), *grant.get("limits", ()))), None)
    if tag is None:
        return []
    limit = grant.get("limits", {}).get(tag) or next(iter(words.limits.get(tag, ())), {"min": 0})
    return [{"tag": tag, "q": limit["min"], "q_prev": limit["min"], "age_ms": 0}]


def _called(
    question: Question, grant: Grant, data: Mapping[str, Any], words: Vocabulary, allows: Allows
) -> Question:
    """The question asked by somebody to whom the grant gives it, if there is anybody."""
    first: Question | None = None
    for caller in _callers(grant, data):
        for zone in words.zones:
            subject = {**question["subject"], **caller, "zone": zone}
            listener = grant.get("listeners", ("grid",))[0]
            conn = {**question["conn"], "zone": zone, "listener": listener}
            for moment, approval, act in product(
                _moments(grant, words), _approvals(grant, data), _acts(grant, words, caller["id"])
            ):
                asked = {
                    **question,
                    "subject": subject,
                    "conn": conn,
                    "state": {**question["state"], "approval": approval},
                    "time": {**question["time"], "ns": moment},
                    "admin": act,
                }
                if allows(asked):
                    return asked
                first = first or asked
    return first or question


def _approvals(grant: Grant, data: Mapping[str, Any]) -> Sequence[Question | None]:
    """Nobody's approval, or that of somebody with the role which the grant wants."""
    role = grant.get("approval", {}).get("by")
    by = [subject for subject, roles in data["role_bindings"].items() if role in roles][:1]
    return ({"id": APPROVAL, "by": by},) if by else (None,)


def _acts(grant: Grant, words: Vocabulary, subject: str) -> Iterator[Question | None]:
    """What a person's act can be about; no act where the grant gives none."""
    yield None
    if "admin" not in grant["actions"]:
        return
    values = grant.get("values") or [None, "observe", *words.modes, *words.windows]
    scopes = [None if scope == "gateway" else scope for scope in grant.get("scopes", ("gateway",))]
    for value, about in product(values, (None, subject, "spiffe://stranger.example/two")):
        for minutes in (None, 1):
            yield {
                "subject": about,
                "scope": scopes[0],
                "value": value,
                "minutes": minutes,
                "request": None if minutes else APPROVAL,
            }


def _moments(grant: Grant, words: Vocabulary) -> Sequence[int]:
    return words.moments() if grant.get("windows") else (NOON,)


def _callers(grant: Grant, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Whom the grant names: a subject, one with a role, somebody of a kind, a user on top of somebody."""
    bindings = data["role_bindings"]
    named = [(subject, bindings.get(subject, [])) for subject in grant.get("subjects", ())[:1]]
    for role in grant.get("roles", ())[:1]:
        named += [(subject, [role]) for subject, roles in bindings.items() if role in roles][:1]
    kinds = grant.get("subject_kinds", ())
    for caller in CALLERS:
        for subject, roles in named:
            yield {"id": subject, "roles": list(roles), **caller}
        if caller["kind"] in kinds:
            yield {"id": stranger(caller["kind"], grant.get("listeners", ("grid",))[0]), **caller}
    if "opcua" in grant["protocols"]:
        for user, _ in named:
            for subject in sorted(_applications(data)):
                roles = list(bindings.get(subject, ()))
                yield {"id": subject, "roles": roles, **APPLICATION, "on_behalf_of": user}


def _applications(data: Mapping[str, Any]) -> set[str]:
    """Whoever a user could stand on top of."""
    named = {subject for grant in data["grants"] for subject in grant.get("subjects", ())}
    return {subject for subject in {*named, *data["role_bindings"]} if not subject.startswith(USERS)}


def stranger(kind: str, listener: str) -> str:
    """A subject of that kind that no data names."""
    match kind:
        case "local":
            return "local:stranger"
        case "nobody":
            return f"anonymous:{listener}"
        case _:
            return "spiffe://stranger.example/one"
