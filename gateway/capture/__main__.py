"""python -m gateway.capture [--port N]… FILE: segments to standard output, as `pipe` says.

Exit 0: the file is through. 1: it is damaged or cut off; what was read before is written. 2: it could not be
read at all; the reason stands on standard error, and nothing was written.
"""

import argparse
import os
import resource
import sys
import time
from collections import Counter

from gateway.capture.direction import PORTS
from gateway.capture.packet import Skip, segment
from gateway.capture.pipe import Writer
from gateway.capture.streams import Streams

PROGRESS_EVERY = 20_000
"Packets between two records of progress."
MOST_MEMORY = 1 << 30
"""Address space of this program. It needs a tenth; a file that claims a block of 4 GiB gets an error from the
kernel, not the machine's memory."""
MISSING = "reading captures needs scapy, which is not installed: pip install 'dmz-gateway[capture]'"


def main() -> int:
    """Read one capture."""
    args = _arguments()
    if sys.stdout.isatty():
        return _fail("this writes bytes for `dmz-gateway inspect`, which is what to call")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    try:
        from gateway.capture.file import CaptureFile, NotACaptureError
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "scapy":
            raise
        return _fail(MISSING)
    try:
        file = CaptureFile(args.file)
    except (NotACaptureError, OSError) as error:
        return _fail(str(error))
    out = Writer(sys.stdout.buffer)
    streams = Streams(out, PORTS | set(args.port))
    skipped: Counter[Skip] = Counter()
    frame = moment = 0
    started = time.monotonic()
    for frame, (moment, link, data) in enumerate(file.packets(), 1):
        found = segment(link, data)
        if isinstance(found, Skip):
            skipped[found] += 1
        else:
            streams.segment(found, frame, moment)
        if not frame % PROGRESS_EVERY:
            out.progress(frame, file.position())
    streams.end(frame, moment)
    seconds = time.monotonic() - started
    totals = streams.totals
    fault = file.fault
    if fault is None and frame and skipped[Skip.LINK] == frame:
        fault = "no packet has a link layer that is read: Ethernet, Linux cooked, loopback, raw IP"
    out.end(
        {
            "packets": frame,
            "seconds": round(seconds, 3),
            "skipped": {kind.value: count for kind, count in sorted(skipped.items())},
            "streams": streams.met,
            "followed": streams.followed,
            "forgotten": streams.forgotten,
            "repeated": totals.repeated,
            "gaps": totals.gaps,
            "gap_bytes": totals.gap_bytes,
            "differing": totals.differing,
            "fault": fault,
        }
    )
    return 0 if fault is None else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.capture", description="Reads a capture for `dmz-gateway inspect`."
    )
    parser.add_argument("file")
    parser.add_argument(
        "--port", type=int, action="append", default=[], help="a server port, beside 502, 802, 4840"
    )
    return parser.parse_args()


def _fail(why: str) -> int:
    sys.stderr.write(f"capture: {why}\n")
    return 2


if __name__ == "__main__":
    try:
        code = main()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
