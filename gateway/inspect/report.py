"""What was found, for people and for programs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.inspect import conversation as modbus_words
from gateway.inspect.conversation import Summary
from gateway.inspect.inspection import Told
from gateway.inspect.opcua import conversation as opcua_words
from gateway.inspect.opcua import report as opcua
from gateway.inspect.opcua.conversation import OpcuaSummary
from gateway.inspect.opcua.inspection import OpcuaTold
from gateway.inspect.refusals import Refusals, Stops
from gateway.inspect.wording import broken, decided, said_moment, spoken
from gateway.model.decision import Decision
from gateway.model.moment import SECOND
from gateway.wire.modbus.findings import Severity

ORDER = {each: rank for rank, each in enumerate(reversed(Severity))}
"The worst first."
HEADS = {
    Stops.ALWAYS: "stopped in every stage, observe and monitor too",
    Stops.ENFORCE: "denied only once the stage is enforce",
}
MOST_SHOWN = 50
"Conversations that people are shown; the worst come first, and the rest is counted."


def line(told: Told | OpcuaTold) -> dict[str, Any]:
    """One line for programs."""
    if isinstance(told, OpcuaTold):
        return opcua.line(told)
    heard = told.heard
    found: dict[str, Any] = {
        "stream": heard.stream,
        "frame": heard.frame,
        "dir": "req" if heard.request else "resp",
    }
    if heard.adu is not None:
        pdu = heard.adu.pdu
        found |= {"tid": heard.adu.tid, "unit": heard.adu.unit, "fc": pdu[0], "pdu": pdu.hex()}
        if heard.asked_frame is not None:
            found["request_frame"] = heard.asked_frame
    found["findings"] = [str(each) for each in heard.findings]
    if heard.fatal is not None:
        found["fatal"] = str(heard.fatal)
    if heard.tls:
        found["encrypted"] = "tls"
    if heard.missing:
        found["missing"] = heard.missing
    if heard.odd:
        found["tcp"] = list(heard.odd)
    if told.decisions is not None:
        found["decisions"] = [*_decisions(told, told.decisions)]
    if told.breaks is not None:
        found["would_refuse"] = [broken(each) for each in told.breaks]
    return found


def _decisions(told: Told, decisions: Sequence[Decision]) -> Iterator[dict[str, Any]]:
    operations = told.heard.operations
    for at, decision in enumerate(decisions):
        question = told.questions[at] if at < len(told.questions) else None
        yield decided(operations[at] if operations else None, decision, question)


def stopped(refusals: Refusals) -> dict[str, Any]:
    """The last line for programs: everything that would be stopped, grouped."""
    told = {
        stops.value: [
            {
                **{name: getattr(group, name) for name in group.__struct_fields__ if name != "stops"},
                "count": seen.count,
                "first": said_moment(seen.first_ns),
                "last": said_moment(seen.last_ns),
                "frames": seen.frames,
            }
            for group, seen in refusals.of(stops)
        ]
        for stops in Stops
    }
    return {"stream": None, "frame": None, "dir": None, "findings": [], "would_refuse": [], "stopped": told}


# for people -----------------------------------------------------------------------------------------------


def people(
    summaries: Sequence[Summary | OpcuaSummary],
    totals: dict[str, Any],
    *,
    judged: bool,
    refusals: Refusals | None = None,
) -> Iterator[str]:
    """The whole report, line by line; `refusals` where somebody wants to know what would be stopped."""
    yield from _head(summaries, totals)
    if refusals is not None:
        yield from _stopped(refusals, judged=judged)
    ranked = sorted(summaries, key=_rank)
    for summary in ranked[:MOST_SHOWN]:
        yield ""
        yield _title(summary)
        yield from _findings(summary)
        if judged:
            yield from _judged(summary)
        if refusals is not None:
            yield from _would_refuse(summary)
        yield from opcua.traffic(summary) if isinstance(summary, OpcuaSummary) else _traffic(summary)
    if len(ranked) > MOST_SHOWN:
        yield ""
        yield f"and {len(ranked) - MOST_SHOWN} more conversations; --json has them all"


def _rank(summary: Summary | OpcuaSummary) -> tuple[int, int, int]:
    worst = summary.worst
    return (
        len(ORDER) if worst is None else ORDER[worst],
        -sum(each.count for each in summary.denied.values()),
        -summary.requests,
    )


def unread(summaries: Sequence[Summary | OpcuaSummary], totals: dict[str, Any]) -> Iterator[str]:
    """What of the capture was not read, and so is in no line."""
    skipped = {why: count for why, count in totals["skipped"].items() if why != "not_tcp"}
    if skipped:
        yield "not read: " + ", ".join(f"{count} packets {why}" for why, count in skipped.items())
    if totals["gaps"]:
        yield f"the capture lacks {totals['gap_bytes']} bytes in {totals['gaps']} places"
    undecoded = sum(each.undecoded for each in summaries)
    if undecoded:
        yield f"{undecoded} bytes were not decoded: they stand behind a gap or behind lost framing"
    if totals["forgotten"]:
        yield f"{totals['forgotten']} connections were forgotten while open: too many at once"


def _head(summaries: Sequence[Summary | OpcuaSummary], totals: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{totals['packets']} packets, {totals['streams']} TCP connections, "
        f"{totals['followed']} of them Modbus or OPC UA by port or by look, {len(summaries)} conversations"
    )
    yield from unread(summaries, totals)


def _title(summary: Summary | OpcuaSummary) -> str:
    connections = "1 connection" if summary.connections == 1 else f"{summary.connections} connections"
    begun = datetime.fromtimestamp(summary.first_ns // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")
    seconds = max(0, summary.last_ns - summary.first_ns) / SECOND
    server = f"[{summary.server}]" if ":" in summary.server else summary.server
    door = "OPC UA, " if isinstance(summary, OpcuaSummary) else ""
    return (
        f"{summary.client} → {server}:{summary.port}   {door}{connections}, from {begun} UTC, {seconds:.0f} s"
    )


def _findings(summary: Summary | OpcuaSummary) -> Iterator[str]:
    told = opcua_words if isinstance(summary, OpcuaSummary) else modbus_words
    found = sorted(summary.findings.items(), key=lambda each: (ORDER[told.severity(each[0])], -each[1].count))
    if not found:
        yield "  no findings"
    for called, times in found:
        yield f"  {told.severity(called):<8} {called:<26} {spoken(times)}  {told.means(called)}"


def _judged(summary: Summary | OpcuaSummary) -> Iterator[str]:
    denied = sum(times.count for times in summary.denied.values())
    unjudged = summary.unjudged if isinstance(summary, OpcuaSummary) else 0
    rest = f", {unjudged} not judged: the capture does not name the server's namespaces" if unjudged else ""
    yield f"  policy: {summary.allowed} operations allowed, {denied} denied{rest}"
    for (kind, code), times in sorted(summary.denied.items(), key=lambda each: -each[1].count):
        yield f"    denied {kind:<44} {spoken(times)}  {code}"


def _would_refuse(summary: Summary | OpcuaSummary) -> Iterator[str]:
    if not summary.breaks:
        yield "  the gateway would break nothing here"
        return
    yield "  the gateway would break, whatever policy says:"
    for each, times in sorted(summary.breaks.items(), key=lambda row: -row[1].count):
        mend = f"; quirk `{each.quirk}` tolerates it" if each.quirk else ""
        yield f"    {each.what:<26} {spoken(times)}  {each.then}: {each.detail}{mend}"


def _traffic(summary: Summary) -> Iterator[str]:
    units = ", ".join(map(str, sorted(summary.units)[:20])) + ("…" if len(summary.units) > 20 else "")
    slow = f", slowest answer {summary.slowest_ns / 1e6:.0f} ms" if summary.answers else ""
    yield (
        f"  {summary.requests} requests, {summary.answers} answers, {summary.unanswered} unanswered"
        f"{f', units {units}' if units else ''}{slow}"
    )
    for called, function in sorted(summary.functions.items(), key=lambda each: -each[1].requests):
        codes = ", ".join(f"{code:02X} × {count}" for code, count in sorted(function.exceptions.items()))
        exceptions = f", exceptions {codes}" if codes else ""
        yield f"    {called:<44} {function.requests} asked, {function.answers} answered{exceptions}"
    if summary.tls:
        yield f"  {summary.tls} connections are encrypted: nothing to read"
    if summary.missing or summary.undecoded:
        yield f"  {summary.missing} bytes missing in the capture, {summary.undecoded} bytes not decoded"


def _stopped(refusals: Refusals, *, judged: bool) -> Iterator[str]:
    """What would be stopped, from the first day and later; the reader plugs the gateway in next."""
    for stops in Stops:
        groups = refusals.of(stops)
        total = sum(seen.count for _, seen in groups)
        if stops is Stops.ENFORCE and not judged:
            continue
        yield ""
        yield f"{HEADS[stops]}: {f'{total} in {len(groups)} groups' if groups else 'nothing'}"
        for group, seen in groups[:MOST_SHOWN]:
            about = "OPC UA" if group.function.startswith("opcua") else "the connection"
            about = f"unit {group.unit}" if group.unit is not None else about
            asset = f" ({group.asset})" if group.asset else ""
            yield f"  {group.source} {about}{asset} {group.function}  {group.code}: {group.then}"
            yield f"    {spoken(seen)}, {said_moment(seen.first_ns)} to {said_moment(seen.last_ns)}"
        if len(groups) > MOST_SHOWN:
            yield f"  and {len(groups) - MOST_SHOWN} more groups; --json has them all"
