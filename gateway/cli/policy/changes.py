"""What turns between two bundles, for people."""

from collections.abc import Iterator

from gateway.author.grouping import Group, Groups, Turn
from gateway.policy.release import rfc3339

MOST_SHOWN = 40
"Groups shown of each turn; --json has them all."
HEADS = {
    Turn.WIDENS: "denied, would be ALLOWED",
    Turn.NARROWS: "allowed, would be DENIED",
    Turn.OBLIGES: "allowed under other obligations",
}


def lines(groups: Groups, *, recorded: bool = True) -> Iterator[str]:
    """Group by group; what widens comes first. Where nothing was recorded, moments mean nothing."""
    every = groups.sorted()
    for turn, head in HEADS.items():
        some = [group for group in every if group.turn is turn]
        if not some:
            continue
        yield ""
        yield f"{head}: {groups.counts[turn]}"
        for group in some[:MOST_SHOWN]:
            yield from _group(group, recorded=recorded)
        if len(some) > MOST_SHOWN:
            yield f"  and {len(some) - MOST_SHOWN} more groups; --json has them all"
        if groups.beyond[turn]:
            yield f"  and {groups.beyond[turn]} operations in no group: too many groups"


def _group(group: Group, *, recorded: bool) -> Iterator[str]:
    where = " ".join(filter(None, [group.table, str(group.ranges), ", ".join(sorted(group.others))]))
    tags = f" ({', '.join(sorted(group.tags))})" if group.tags else ""
    yield f"  {group.count} × {group.subject}  {group.kind}  {group.asset or '-'}  {where}{tags}"
    why = {
        "denied before by": group.lifted,
        "denied now by": group.denying,
        "grants lost": group.lost,
        "granted now by": group.gained,
    }
    for words, names in why.items():
        if names:
            yield f"      {words}: {', '.join(names)}"
    if group.turn is Turn.OBLIGES:
        yield f"      before {_texts(group.before.obligations)}, now {_texts(group.after.obligations)}"
    if not recorded:
        yield f"      for example {'; '.join(group.examples)}"
    elif group.first_ns is not None and group.last_ns is not None:
        yield f"      {rfc3339(group.first_ns)} … {rfc3339(group.last_ns)}   {' '.join(group.examples)}"


def _texts(obligations: tuple[str, ...] | None) -> str:
    return ", ".join(obligations or ()) or "none"
