"""dmz-gateway inspect CAPTURE: what a capture of Modbus/TCP and OPC UA says, without a gateway running.

    inspect CAPTURE                            findings and traffic of each conversation
    inspect CAPTURE --json                     one line for each ADU or message
    inspect CAPTURE --policy BUNDLE --as …     and what policy would decide
    inspect CAPTURE --would-refuse …           and what the gateway would stop: in every stage (the wire,
                                               guardrails), and only once the stage is `enforce` (policy)

Exit 0: nothing is wrong. 1: something is: a warning or an alarm among the findings, lost framing, a denial.
With --would-refuse the question is another: 0 nothing would be stopped, 1 something would, in some stage.
2: the capture or the call cannot be read; what was read before is shown all the same.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from gateway.config import read as configuration
from gateway.inspect import report
from gateway.inspect.conversation import Summary
from gateway.inspect.inspection import Inspection, Told
from gateway.inspect.judge import Judge
from gateway.inspect.named import identities
from gateway.inspect.opcua.around import Around
from gateway.inspect.opcua.certificates import Trust
from gateway.inspect.opcua.conversation import OpcuaSummary
from gateway.inspect.opcua.inspection import OpcuaTold
from gateway.inspect.opcua.servers import Servers
from gateway.inspect.plant import Plant
from gateway.inspect.program import CaptureError, reading
from gateway.inspect.segments import BrokenPipeFormatError, Progress, read
from gateway.model.errors import ConfigError, Fault
from gateway.wire.modbus.findings import Severity

PROGRESS_S = 2.0
"Between two words of progress, so that short captures need none."
BAD = (Severity.WARNING, Severity.ALARM)
"Findings that make the answer no; a notice does not."
CHUNK = 256
"Lines written at once."


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `inspect`."""
    command = commands.add_parser(
        "inspect", help="what a capture of Modbus/TCP and OPC UA says (pcap, pcapng)"
    )
    command.add_argument("capture", type=Path, metavar="CAPTURE")
    command.add_argument("--json", action="store_true", help="one line for each ADU or message, for programs")
    command.add_argument(
        "--port", type=int, action="append", default=[], help="a server port, beside 502, 802, 4840"
    )
    command.add_argument("--policy", type=Path, metavar="BUNDLE", help="say what this policy would decide")
    command.add_argument(
        "--as",
        dest="who",
        action="append",
        default=[],
        metavar="IP=SUBJECT[:ROLE],…",
        help="who the clients are, for --policy and --would-refuse",
    )
    command.add_argument("-c", "--config", type=Path, help="gateway.yaml: assets, units and tags")
    command.add_argument(
        "--would-refuse",
        action="store_true",
        help="what the gateway would stop, in every stage and once enforced (with -c: by its policy)",
    )
    command.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="URI",
        help="namespace 1, 2, … of OPC UA servers that nobody asks for theirs in the capture",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Inspect one capture."""
    who = identities(args.who)
    if who and args.policy is None and not args.would_refuse:
        mend = "name the bundle"
        raise ConfigError([Fault("--as", "means something only with --policy or --would-refuse", mend)])
    settings = configuration.read(args.config) if args.config is not None else None
    bundle = args.policy
    if bundle is None and args.would_refuse and who and settings is not None:
        bundle = settings.policy.bundle
    plant = Plant(settings)
    judge = None if bundle is None else Judge(bundle, who, plant, settings)
    around = Around(Servers(settings, args.namespace), Trust(settings))
    inspection = Inspection(plant, judge, would_refuse=args.would_refuse, who=who, around=around)
    fault = _read(args, inspection)
    summaries: list[Summary | OpcuaSummary] = [*inspection.summaries.values(), *inspection.opcua.values()]
    if not args.json and inspection.totals is not None:
        told = report.people(
            summaries,
            inspection.totals,
            judged=judge is not None,
            refusals=inspection.refusals if args.would_refuse else None,
        )
        print("\n".join(told))
    elif inspection.totals is not None:
        for word in report.unread(summaries, inspection.totals):
            print(f"dmz-gateway: {word}", file=sys.stderr)
    if fault is not None:
        print(f"dmz-gateway: {fault}", file=sys.stderr)
        return 2
    if args.would_refuse:
        return 1 if inspection.refusals.any else 0
    return 1 if any(each.worst in BAD or each.denied for each in summaries) else 0


def _read(args: argparse.Namespace, inspection: Inspection) -> str | None:
    """Read it all, writing lines for programs; why it ended too early, if it did. Raises CaptureError."""
    progress = _Progress(args.capture)
    with reading(args.capture, args.port) as capture:
        try:
            told = _watched(inspection.lines(read(capture.pipe)), progress)
            if args.json:
                _write(told, sys.stdout.buffer)
                if args.would_refuse:
                    _last(inspection, sys.stdout.buffer)
            else:
                for _ in told:
                    pass
        except BrokenPipeFormatError as error:
            failure = capture.failure()
            if not (inspection.summaries or inspection.opcua or inspection.packets):
                raise failure from error
            return f"{failure} (after {inspection.packets} packets)"
        finally:
            progress.end(inspection.packets)
    if inspection.totals is None:
        raise CaptureError("the capture program did not say how it ended")
    fault = inspection.totals["fault"]
    return None if fault is None else f"{args.capture}: {fault}"


def _write(told: Iterator[Told | OpcuaTold], out: IO[bytes]) -> None:
    """Lines for programs, some at a time."""
    encode = msgspec.json.Encoder().encode
    gathered: list[bytes] = []
    try:
        for each in told:
            gathered += (encode(report.line(each)), b"\n")
            if len(gathered) >= 2 * CHUNK:
                out.write(b"".join(gathered))
                gathered = []
    finally:
        out.write(b"".join(gathered))
        out.flush()


def _last(inspection: Inspection, out: IO[bytes]) -> None:
    """The last line for programs: what would be stopped."""
    out.write(msgspec.json.encode(report.stopped(inspection.refusals)) + b"\n")
    out.flush()


def _watched(
    lines: Iterator[Told | OpcuaTold | Progress], progress: "_Progress"
) -> Iterator[Told | OpcuaTold]:
    for each in lines:
        if isinstance(each, Progress):
            progress.say(each)
        else:
            yield each


class _Progress:
    """Words on standard error while a long capture is read."""

    def __init__(self, capture: Path) -> None:
        self._size = capture.stat().st_size if capture.is_file() else 0
        self._begun = self._said = time.monotonic()
        self._shown = False

    def say(self, progress: Progress) -> None:
        """Where we are, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._said < PROGRESS_S:
            return
        self._said, self._shown = now, True
        share = f"{100 * progress.position // self._size} %, " if self._size else ""
        rate = progress.packets / (now - self._begun)
        print(f"{share}{progress.packets} packets, {rate:.0f} packets/s", file=sys.stderr)

    def end(self, packets: int) -> None:
        """The speed, if anything was said at all."""
        if self._shown:
            seconds = time.monotonic() - self._begun
            print(f"{packets} packets in {seconds:.1f} s, {packets / seconds:.0f} packets/s", file=sys.stderr)
