"""What of a base question the grid varies: a dimension gives values, each value is a change of a few fields.

A change names a part of the question and what of it becomes otherwise; every changed question is a whole
`dmz.input/1`. Values lie on both sides of every edge that the data or the rules have.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gateway.author.bases import APPROVAL, CALLERS, GLASS, MOST_ASSETS, NOON, Base, stranger
from gateway.author.form import Question
from gateway.author.vocabulary import Vocabulary
from gateway.model.moment import SECOND

Change = tuple[str, dict[str, Any]]
"What is said about it, and part -> fields (or the whole part, where it is no object)."

CODES = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43, 90, 100, 125, 126)
TABLES = ("coil", "discrete", "input", "holding", None)
ACTIONS = ("read", "write", "call", "browse", "subscribe", "publish", "admin")
PROTOCOLS = ("modbus", "https", "mqtt", "control", "opcua")
CHANGING = ("write", "call", "admin")
UNKNOWN = "asset-of-nobody"


def changed(question: Question, change: Change) -> Question:
    """The question with a change."""
    made = dict(question)
    for part, fields in change[1].items():
        old = made[part]
        made[part] = {**old, **fields} if isinstance(old, dict) and isinstance(fields, dict) else fields
    return made


def _who(base: Base, words: Vocabulary) -> Iterator[Change]:
    subject = base.question["subject"]
    for name in words.subjects:
        claims = {tuple(bundle.data["role_bindings"].get(name, ())) for bundle in words.bundles}
        for roles in sorted({(), *claims}):
            asked = {"id": name, "roles": list(roles)}
            yield f"subject {name} claiming {list(roles)}", {"subject": asked}
            for caller in CALLERS if roles else ():
                yield (
                    f"subject {name}, {caller['kind']} by {caller['auth']}",
                    {"subject": {**asked, **caller}},
                )
    for role in words.roles:
        yield f"claims role {role}", {"subject": {"roles": [role]}}
    yield "claims every role", {"subject": {"roles": words.roles}}
    for state in ("ok", "absent", "malformed"):
        yield f"role_state {state}", {"subject": {"role_state": state}}
    for user in (*words.subjects, "spiffe://stranger.example/two", None):
        yield f"on behalf of {user or 'nobody'}", {"subject": {"on_behalf_of": user}}
    listener = base.question["conn"]["listener"]
    for caller in CALLERS:
        yield f"{caller['kind']} by {caller['auth']}", {"subject": dict(caller)}
        name = stranger(caller["kind"], listener)
        yield f"unknown {caller['kind']}", {"subject": {"id": name, **caller}}
    for text in sorted(words.texts):
        if "://" in text or text.startswith(("urn:", "x509:", "local:", "user:", "token:")):
            yield f"subject {text}", {"subject": {"id": text}}
    yield "subject of no form", {"subject": {"id": f"x{subject['id']}"}}


def _from_where(base: Base, words: Vocabulary) -> Iterator[Change]:
    for zone in _sorted({*words.zones, "zone-of-nobody", *words.texts}):
        yield f"from zone {zone}", {"conn": {"zone": zone}}
        yield f"vouched for by zone {zone}", {"subject": {"zone": zone}}
    nobody = base.question["subject"]["kind"] == "nobody"
    for listener in _sorted({*words.listeners, "grid", *words.texts}):
        name = {"subject": {"id": stranger("nobody", listener)}} if nobody else {}
        yield f"by listener {listener}", {"conn": {"listener": listener}, **name}
    for tls in ("1.2", "1.3", None):
        yield f"TLS {tls}", {"conn": {"tls": tls}}


def _about(base: Base, words: Vocabulary) -> Iterator[Change]:
    named = base.grant.get("assets", ())
    others = [name for name in words.assets if name not in named][:MOST_ASSETS]
    for asset in (*named[MOST_ASSETS:], *others, UNKNOWN, None):
        kind = words.assets.get(asset or "", {}).get("kind")
        yield f"asset {asset}", {"target": {"asset": asset, "kind": kind}}
    for kind in _sorted({each["kind"] for each in words.assets.values()} | {"safety", None}):
        yield f"asset kind {kind}", {"target": {"kind": kind}}


def _what(_base: Base, words: Vocabulary) -> Iterator[Change]:
    for action in ACTIONS:
        counted = 0 if action in CHANGING else None
        yield f"action {action}", {"op": {"action": action}, "state": {"writes_60s": counted}}
    for protocol in PROTOCOLS:
        yield f"over {protocol}", {"op": {"protocol": protocol}}
    for kind in (*words.operations, *(text for text in sorted(words.texts) if "." in text)):
        yield f"operation {kind}", {"op": {"kind": kind}}


def _addresses(base: Base, words: Vocabulary) -> Iterator[Change]:
    modbus, asset = base.question["modbus"], base.question["target"]["asset"]
    if modbus is None:
        return
    if modbus["table"] is not None:
        edges = words.edges.get((asset or "", modbus["table"]), set()) | words.numbers
        for start in sorted(each for each in edges if each >= 0):
            for count in (1, 2):
                yield f"{count} from {start}", {"modbus": {"start": start, "count": count}}
        for first, last in _own(base, modbus["table"]):
            for start, end in ((first, last), (first, last + 1), (first - 1, last), (last, last + 1)):
                if start >= 0:
                    yield f"{start}-{end}", {"modbus": {"start": start, "count": end - start + 1}}
    for name in ("start", "count", "record", "file"):
        if modbus[name] is not None:
            for value in (None, 0, modbus[name] - 1, modbus[name] + 1):
                if value is None or value >= 0:
                    yield f"{name} {value}", {"modbus": {name: value}}
    for area in base.grant.get("modbus", ()):
        for name, field in (("files", "file"), ("records", "record")):
            for first, last in area.get(name, ()):
                for value in (first - 1, first, last, last + 1):
                    yield f"{field} {value}", {"modbus": {field: value, "count": 1}}


def _own(base: Base, table: str) -> Iterator[tuple[int, int]]:
    for area in base.grant.get("modbus", ()):
        if area.get("table") == table:
            yield from area["ranges"]


def _functions(base: Base, _words: Vocabulary) -> Iterator[Change]:
    if base.question["modbus"] is None:
        return
    for code in CODES:
        yield f"function {code}", {"modbus": {"fc": code}}
    for table in TABLES:
        yield f"table {table}", {"modbus": {"table": table}}
    for sub in (0, 1, 2, 4, 10, 11, 18, 19, None):
        yield f"sub-function {sub}", {"modbus": {"sub": sub}}
    for mei in (13, 14, None):
        yield f"MEI {mei}", {"modbus": {"mei": mei}}
    for unit in (0, 1, 255):
        yield f"unit {unit}", {"modbus": {"unit": unit}}
    yield "a mask", {"modbus": {"and_mask": 0xFF00, "or_mask": 1}}


def _values(base: Base, words: Vocabulary) -> Iterator[Change]:
    own = {*base.grant.get("tags", ()), *base.grant.get("limits", ())}
    others: set[str] = set()
    if base.question["op"]["action"] not in CHANGING and not own:
        return
    if base.question["op"]["action"] in CHANGING:
        others = words.limits.keys() - own - words.moved
        own |= words.moved
    yield "no tag", {"points": []}
    yield "a tag of nobody", {"points": [_point("tag.of.nobody", 1, 1, 0)]}
    for tag in (*sorted(own), *sorted(others)[:MOST_ASSETS]):
        limits = words.limits.get(tag, [{"min": 0, "max": 1}])
        start = limits[-1]["min"]
        for limit in limits:
            for q in (limit["min"] - 1, limit["min"], limit["max"], limit["max"] + 1):
                yield f"{tag} to {q}", {"points": [_point(tag, q, q, 0)]}
            step = limit.get("max_delta")
            if step is not None:
                middle = (limit["min"] + limit["max"]) // 2
                for by in (step, step + 1, -step, -step - 1):
                    yield f"{tag} by {by}", {"points": [_point(tag, middle, middle - by, 0)]}
        for age in (each + more for each in words.ages for more in (0, 1)):
            yield f"{tag} known for {age} ms", {"points": [_point(tag, start, start, age)]}
        yield f"{tag} to nobody knows what", {"points": [_point(tag, None, start, 0)]}
        yield f"{tag} from nobody knows what", {"points": [_point(tag, start, None, 0)]}
        with_other = [_point(tag, start, start, 0), _point("tag.of.nobody", 1, 1, 0)]
        yield f"{tag} and another", {"points": with_other}
        yield f"{tag} is read", {"points": [_point(tag, None, None, None)]}


def _point(tag: str, q: int | None, before: int | None, age: int | None) -> dict[str, Any]:
    return {"tag": tag, "q": q, "q_prev": before, "age_ms": age}


def _state(base: Base, words: Vocabulary) -> Iterator[Change]:
    subject = base.question["subject"]["id"]
    for mode in _sorted({*words.modes, "mode-of-nobody", *words.texts}):
        yield f"mode {mode}", {"state": {"mode": mode}}
    for freeze in (False, True):
        yield f"freeze {freeze}", {"state": {"freeze": freeze}}
    for crl in ("fresh", "stale", "grace_over", "missing"):
        yield f"revocation lists {crl}", {"state": {"crl": crl}}
    for clock in ("trusted", "untrusted", "grace_over"):
        yield f"clock {clock}", {"state": {"clock": clock}}
    for glass in (None, GLASS):
        yield f"glass broken {glass is not None}", {"state": {"break_glass": glass}}
    yield "not approved", {"state": {"approval": None}}
    for person in (subject, *words.subjects):
        approval = {"id": APPROVAL, "by": [person]}
        yield f"approved by {person}", {"state": {"approval": approval}}
    if base.question["op"]["action"] in CHANGING:
        for writes in (None, *(each + more for each in words.budgets for more in (-1, 0))):
            yield f"{writes} writes before", {"state": {"writes_60s": writes}}


def _time(_base: Base, words: Vocabulary) -> Iterator[Change]:
    for moment in words.moments():
        yield f"at {moment}", {"time": {"ns": moment}}
    yield "clock not believed", {"time": {"trusted": False}}
    yield "every window open that people open", {"time": {"windows": words.windows}}
    yield "no window open", {"time": {"windows": []}}


def _north(base: Base, words: Vocabulary) -> Iterator[Change]:
    if base.question["northbound"] is None:
        return
    for topic in _sorted({*words.topics, *words.texts, "topic/of/nobody"}):
        stem = topic.removesuffix("/#")
        for each in (stem, f"{stem}/a", f"{stem}-a", f"{stem}/a/b"):
            yield f"topic {each}", {"northbound": {"topic": each}}
    for consumer in _sorted({*words.consumers, "consumer-of-nobody"}):
        yield f"to {consumer}", {"northbound": {"consumer": consumer}}
    for form in _sorted({*words.formats, "format-of-nobody"}):
        yield f"as {form}", {"northbound": {"format": form}}
    yield "no topic", {"northbound": None}


def _nodes(base: Base, words: Vocabulary) -> Iterator[Change]:
    node = base.question["opcua"]
    if node is None:
        return
    others: dict[str, set[Any]] = {}
    for bundle in words.bundles:
        for grant in bundle.data["grants"]:
            for area in grant.get("opcua", ()):
                for name, values in area.items():
                    if isinstance(values, list):
                        others.setdefault(name.removesuffix("s"), set()).update(filter(_plain, values))
    for field in sorted(others.keys() & node.keys()):
        for value in (*sorted(others[field], key=str), None):
            yield f"{field} {value}", {"opcua": {field: value}}
            if isinstance(value, str):
                yield f"{field} {value}x", {"opcua": {field: f"{value}x"}}
    for text in sorted(words.texts):
        for field in ("node", "path", "attribute", "method"):
            yield f"{field} {text}", {"opcua": {field: text}}
    for field in ("sampling_ms", "publishing_ms"):
        for number in sorted(words.numbers):
            yield f"{field} {number}", {"opcua": {field: number}}
    for area in _areas(words):
        yield from _bounds_of(area, node)
    for security, mode in (("None", None), ("Basic256Sha256", "Sign"), ("Basic256Sha256", "SignAndEncrypt")):
        yield f"{security} {mode}", {"opcua": {"security": security, "mode": mode}}


def _areas(words: Vocabulary) -> Iterator[Mapping[str, Any]]:
    for bundle in words.bundles:
        for grant in bundle.data["grants"]:
            yield from grant.get("opcua", ())


def _bounds_of(area: Mapping[str, Any], node: Question) -> Iterator[Change]:
    """Both sides of what an entry bounds by numbers: arguments, intervals and spans."""
    for place, bound in enumerate(area.get("arguments", ())):
        edges = [
            bound[end] + more
            for end, more in (("min", -1), ("min", 0), ("max", 0), ("max", 1))
            if end in bound
        ]
        for value in (*edges, *bound.get("one_of", ()), None):
            arguments = list(node["arguments"] or ())
            if place < len(arguments):
                arguments[place] = value
                yield f"argument {place} {value}", {"opcua": {"arguments": arguments}}
    for more in (-1, 0) if "min_interval_ms" in area else ():
        for field in ("sampling_ms", "publishing_ms"):
            yield (
                f"{field} {area['min_interval_ms'] + more}",
                {"opcua": {field: area["min_interval_ms"] + more}},
            )
    for more in (0, 1) if "most_history_s" in area else ():
        end = NOON - (area["most_history_s"] + more) * SECOND
        span = {"history_start_ns": NOON, "history_end_ns": end}
        yield f"history of {area['most_history_s'] + more} s", {"opcua": span}


def _sorted(values: Iterable[Any]) -> list[Any]:
    """In an order that is the same in every run."""
    return sorted(values, key=str)


def _plain(value: object) -> bool:
    return isinstance(value, str | int)


def _acts(base: Base, words: Vocabulary) -> Iterator[Change]:
    if base.question["admin"] is None:
        return
    listeners = [f"listener:{name}" for name in words.listeners]
    for scope in (None, *listeners, *(f"asset:{name}" for name in words.assets)):
        yield f"scope {scope}", {"admin": {"scope": scope}}
    for subject in (None, *words.subjects):
        yield f"about {subject}", {"admin": {"subject": subject}}
    for value in _sorted({*words.modes, *words.windows, *words.values, "observe", "monitor", "enforce"}):
        yield f"value {value}", {"admin": {"value": value}}
    for minutes in (None, 0, *sorted(words.minutes | words.numbers)):
        yield f"for {minutes} minutes", {"admin": {"minutes": minutes}}


Dimension = Callable[[Base, Vocabulary], Iterator[Change]]
DIMENSIONS: Mapping[str, Dimension] = {
    "who": _who,
    "from where": _from_where,
    "about": _about,
    "what": _what,
    "addresses": _addresses,
    "functions": _functions,
    "values": _values,
    "state": _state,
    "time": _time,
    "northbound": _north,
    "nodes": _nodes,
    "acts": _acts,
}
"""By name. Two changes of one dimension are never joined."""
