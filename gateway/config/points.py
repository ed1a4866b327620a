"""What each tag must mean: that its bits exist, that its numbers can be reckoned with, that IT can name it.

Each rule is a row of RULES: it looks at one tag and what is known around it, and yields complaints.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from gateway.config import nodes
from gateway.config.draft import FLOATS, Draft
from gateway.model.asset import Asset, DataType, Speaks, Table, Tag

BIT_TABLES = frozenset({Table.COIL, Table.DISCRETE})
LAST_ADDRESS = 65_535
"Application Protocol V1.1b3 §4.4: addresses are 16 bits."
PLACE_KEYS = ("table", "address")
"Without them a tag of a Modbus asset is nowhere."
REGISTER_KEYS = (*PLACE_KEYS, "bit", "byte_order", "word_order")
"Keys of a tag that mean nothing for a node."

Complaint = tuple[str, str, str]
"Key, what is wrong, mend."


class Around(Struct, frozen=True):
    """What a rule may know beside the tag."""

    assets: dict[str, Asset]
    names: frozenset[str]
    "Of all assets, including those that are themselves at fault."
    zones: frozenset[str]
    written: frozenset[str]
    "The keys that the file has for this tag."


def speaks(tag: Tag, around: Around) -> Iterator[Complaint]:
    """The asset exists, and the tag is a place in it, in the words of the protocol that it speaks."""
    if tag.asset not in around.names:
        known = ", ".join(sorted(around.names)[:20]) or "none"
        yield "asset", f"there is no asset {tag.asset}", f"declare it, or write one of: {known}"
    asset = around.assets.get(tag.asset)
    if asset is None and "node" in around.written:
        return  # what it speaks is not known
    if asset is None or asset.protocol is Speaks.MODBUS:
        for key in PLACE_KEYS:
            if key not in around.written and "node" not in around.written:
                yield key, f"{key} is missing in {tag.name}", f"add {key}: …"
        if "node" in around.written:
            mend = f"write table and address, or `protocol: opcua` at {tag.asset}"
            yield "node", f"{tag.asset} speaks modbus, which has no nodes", mend
        return
    for key in REGISTER_KEYS:
        if key in around.written:
            yield key, f"{key} means nothing for a node of {tag.asset}, which speaks opcua", "remove it"
    if tag.node is None:
        yield "node", f"node is missing in {tag.name}", "add node: nsu=<namespace URI>;s=…"


def node(tag: Tag, _: Around) -> Iterator[Complaint]:
    """The id of a node is written as the gateway writes it."""
    if tag.node is not None and (wrong := nodes.amiss(tag.node)):
        yield "node", *wrong


def place(tag: Tag, around: Around) -> Iterator[Complaint]:
    """The asset declares what the tag reads, whole within one span."""
    if tag.table is None:
        return
    last = tag.span.end - 1
    if last > LAST_ADDRESS:
        yield "address", f"{tag.type} at {tag.address} ends at {last}", f"the last address is {LAST_ADDRESS}"
        return
    asset = around.assets.get(tag.asset)
    if asset is None or not asset.registers:
        return
    spans = [span for span in asset.registers if span.table == tag.table]
    if not any(span.start <= tag.address and tag.span.end <= span.end for span in spans):
        here = str(tag.address) if last == tag.address else f"{tag.address}-{last}"
        declared = ", ".join(f"{span.start}-{span.end - 1}" for span in spans) or "none"
        yield (
            "address",
            f"{tag.asset} does not declare {tag.table} {here} (declared: {declared})",
            f"correct the address, or add the device's span to {tag.asset}.registers.{tag.table}",
        )


def bits(tag: Tag, _: Around) -> Iterator[Complaint]:
    """A bit is for a BOOL in a register, and then it is needed; coils are bits already."""
    if tag.table is None:
        return
    if tag.table in BIT_TABLES and tag.type is not DataType.BOOL:
        yield "type", f"a {tag.table} is one bit and cannot hold {tag.type}", "write type: bool"
    elif tag.bit is not None and (tag.table in BIT_TABLES or tag.type is not DataType.BOOL):
        yield "bit", f"bit means nothing for {tag.type} in {tag.table}", "remove it"
    elif tag.bit is None and tag.table not in BIT_TABLES and tag.type is DataType.BOOL:
        yield "type", "which of the 16 bits of the register?", "add bit: 0 (least significant) to 15"


def scaling(tag: Tag, around: Around) -> Iterator[Complaint]:
    """Values can be turned into quanta and back."""
    if tag.type is DataType.BOOL:
        for key in ("scale", "offset", "range", "resolution"):
            if key in around.written:
                yield key, f"{key} means nothing for bool", "remove it"
        return
    if tag.scale == 0:
        yield "scale", "scale is 0: every value would be the same", "write what one raw step is worth"
    if tag.type in FLOATS and "resolution" not in around.written:
        yield "type", f"{tag.type} has no step of its own", "add resolution: the smallest step that matters"
    if "resolution" in around.written and tag.resolution <= 0:
        yield "resolution", f"resolution is {tag.resolution:g}", "write the smallest step that matters"


def freshness(tag: Tag, around: Around) -> Iterator[Complaint]:
    """A value must not be stale before the next can be there."""
    if tag.stale_ms < tag.poll_ms:
        poll, stale = tag.poll_ms / 1000, tag.stale_ms / 1000
        what = f"a value is stale after {stale:g} s, and polled only every {poll:g} s"
        yield "stale" if "stale" in around.written else "poll", what, f"write stale: {3 * poll:g}s"


def path(tag: Tag, _: Around) -> Iterator[Complaint]:
    """The path can stand in a topic as it is."""
    bad = set(tag.path) & set("+#") or tag.path.startswith("$") or not tag.path.isprintable()
    if bad or "" in tag.path.split("/"):
        mend = "write enterprise/site/area/…/name without +, #, empty parts, and / at either end"
        yield "path", f"{tag.path} is not an ISA-95 path", mend


def release(tag: Tag, around: Around) -> Iterator[Complaint]:
    """Who may see it is a zone that exists, or nobody."""
    if "release" in around.written and tag.release != "none" and tag.release not in around.zones:
        known = ", ".join(["none", *sorted(around.zones)])
        yield "release", f"there is no zone {tag.release}", f"write one of: {known}"


RULES: tuple[Callable[[Tag, Around], Iterator[Complaint]], ...] = (
    speaks,
    node,
    place,
    bits,
    scaling,
    freshness,
    path,
    release,
)


def tags(draft: Draft) -> None:
    """Every rule on every tag; no two tags under one path, or one would overwrite the other in IT; no two on
    one node, or what is written there would be judged by one of them alone.
    """
    assets = {asset.name: asset for _, asset in draft.each(Asset)}
    asset_names, zone_names = frozenset(draft.names("assets")), frozenset(draft.names("zones"))
    paths: dict[str, str] = {}
    taken: dict[tuple[str, str], str] = {}
    for trail, tag in draft.each(Tag):
        written = frozenset(draft.document.get(trail))
        around = Around(assets, asset_names, zone_names, written)
        for rule in RULES:
            for key, what, mend in rule(tag, around):
                draft.fault((*trail, key), what, mend)
        first = paths.setdefault(tag.path, tag.name)
        if first != tag.name:
            draft.fault(
                (*trail, "path"), f"{first} has the path {tag.path} already", "give it a path of its own"
            )
        if tag.node is not None and (other := taken.setdefault((tag.asset, tag.node), tag.name)) != tag.name:
            what = f"{other} is the node {tag.node} already"
            draft.fault((*trail, "node"), what, "correct the node, or remove one of the tags")
