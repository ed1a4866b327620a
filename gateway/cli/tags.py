"""dmz-gateway tags: what there is to make tags of, and what a tag reads just now; as a person."""

import argparse
import re
from typing import Any

from gateway.admin.client import TIMEOUT_S
from gateway.admin.tag_routes import WITHIN_S, Browse
from gateway.cli import person

TYPES = {
    "Boolean": "bool",
    "SByte": "int16",
    "Byte": "uint16",
    "Int16": "int16",
    "UInt16": "uint16",
    "Int32": "int32",
    "UInt32": "uint32",
    "Int64": "int64",
    "UInt64": "uint64",
    "Float": "float32",
    "Double": "float64",
}
"Types of values that a tag can have, and how a configuration calls them."
LONGEST = 40
"Characters of a value in a line."


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `tags` and its commands."""
    group = commands.add_parser("tags", help="find nodes for tags, and read one tag now")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = person.options()
    browse = verbs.add_parser("browse", parents=[common], help="nodes of an OPC UA asset, to choose from")
    browse.add_argument("asset")
    browse.add_argument("--node", default="i=85", help="where to begin; by default the Objects folder")
    browse.add_argument("--depth", type=int, default=3, help="levels below it, 1 to 12 (default 3)")
    browse.add_argument("--most", type=int, default=200, help="most nodes, 1 to 2000 (default 200)")
    browse.add_argument("--yaml", action="store_true", help="print variables as tags for gateway.yaml")
    browse.set_defaults(run=person.answers(_browse))
    probe = verbs.add_parser("probe", parents=[common], help="read a tag or node now: raw beside scaled")
    probe.add_argument("what", metavar="TAG|NODE", help="a tag, or with --asset a node: nsu=…;s=…")
    probe.add_argument("--asset", help="whose node it is")
    probe.set_defaults(run=person.answers(_probe))


def _browse(args: argparse.Namespace) -> int:
    wanted = Browse(asset=args.asset, node=args.node, depth=args.depth, most=args.most)
    body = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    told = person.person(args).post("/admin/v1/tags/browse", body, WITHIN_S + TIMEOUT_S)
    nodes = told["nodes"]
    lines = _stubs(args.asset, nodes) if args.yaml else [_line(each) for each in nodes]
    mark = "# " if args.yaml else ""
    if told["truncated"]:
        lines.append(f"{mark}there is more: begin further down with --node, or raise --most")
    if told["denied"]:
        lines.append(
            f"{mark}{told['denied']} nodes were not entered: policy does not let the gateway browse them"
        )
    return person.say(args, told, lines)


def _line(each: dict[str, Any]) -> str:
    what = " ".join(filter(None, [each["kind"], each.get("type", "")]))
    value = str(each.get("value", ""))
    value = value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
    said = "  ".join(filter(None, [what, value, each.get("status", "")]))
    return f"{'  ' * (each['depth'] - 1)}{each['name']}  {each['node']}  {said}"


def _stubs(asset: str, nodes: list[dict[str, Any]]) -> list[str]:
    """Tags for what a tag can be; what is left out is said."""
    lines = ["tags:"]
    used: set[str] = set()
    for each in nodes:
        kind = TYPES.get(each.get("type", ""))
        if each["kind"] != "variable":
            continue
        if kind is None:
            why = each.get("type") or each.get("status") or "no value"
            lines.append(f"  # {each['path']}: {why}, which is no tag")
            continue
        path = "/".join(filter(None, (_slug(part) for part in each["path"].split("/"))))
        name = f"{_slug(asset)}.{path.replace('/', '.')}"
        while name in used:
            name += "_"
        used.add(name)
        lines += [
            f"  - name: {name}",
            f"    asset: {asset}",
            f"    path: {asset}/{path}          # ISA-95: enterprise/site/area/…",
            f"    node: {_quoted(each['node'])}",
            f"    type: {kind}",
            *([] if kind == "bool" else ["    resolution: 1          # the smallest step that matters"]),
        ]
    return lines if len(lines) > 1 else ["tags: []"]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_")


def _quoted(text: str) -> str:
    """A YAML text in double quotes (YAML 1.2 §7.3.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _probe(args: argparse.Namespace) -> int:
    body = {"asset": args.asset, "node": args.what} if args.asset else {"tag": args.what}
    told = person.person(args).post("/admin/v1/tags/probe", body, WITHIN_S + TIMEOUT_S)
    shown = {name: value for name, value in told.items() if name != "collected"}
    lines = [f"{name:12} {_plain(value)}" for name, value in shown.items()]
    if told.get("collected"):
        known = told["collected"]
        lines.append(
            f"{'collected':12} {_plain(known['value'])} {known['quality']} {known['reason']}".rstrip()
            + f", of {known['time']}, received {known['received']}"
        )
    return person.say(args, told, lines)


def _plain(value: object) -> str:
    return "–" if value is None or value == "" else str(value)
