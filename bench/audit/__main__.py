"""`bench/run audit`: what a durable record costs, beside SQLite. See bench/README.md.

Exit 0: measured. 1: the run failed. 2: the call is wrong.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.audit import rounds, tree
from bench.gates import tell
from bench.programs import BUILD
from bench.report import Row
from gateway.model.record import MOST_BYTES

IN_FLIGHT = (1, 16, 64, 256)
ROUNDS = 5


def main(arguments: list[str] | None = None) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="bench/run audit", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window (default 2)")
    parser.add_argument("--in-flight", help="with commas (default 1,16,64,256)")
    parser.add_argument("--bytes", type=int, default=rounds.RECORD, help="of a record (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=BUILD, help="on the disk that is to be measured")
    args = parser.parse_args(arguments)
    if not args.seconds > 0:
        parser.error("--seconds must be above 0")
    if not 64 <= args.bytes <= MOST_BYTES:
        parser.error(f"--bytes must be 64 to {MOST_BYTES}")
    try:
        in_flight = tuple(int(n) for n in args.in_flight.split(",")) if args.in_flight else IN_FLIGHT
    except ValueError:
        parser.error("--in-flight wants numbers with commas")
    args.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="audit-", dir=args.folder))
    try:
        found = _rows(folder, args.seconds, args.bytes, in_flight)
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell(found, as_json=args.json, to=sys.stdout)
    return 0


def _rows(folder: Path, seconds: float, size: int, in_flight: tuple[int, ...]) -> list[Row]:
    """Interleaved, so that what else the machine does falls on both alike; each window on new files."""
    windows: dict[int, dict[str, list[rounds.Window]]] = {
        n: {rounds.SUBJECT: [], rounds.PEER: []} for n in in_flight
    }
    costs: list[float] = []
    for _ in range(ROUNDS):
        for n, each in windows.items():
            for subject, seen in each.items():
                place = folder / "window"
                seen.append(rounds.window(subject, place, n, seconds, size))
                shutil.rmtree(place)
        costs.append(tree.cost(folder / "tree", size))
        shutil.rmtree(folder / "tree")
    return [row for n, each in windows.items() for row in rounds.rows(n, each)] + [tree.row(costs)]


if __name__ == "__main__":
    sys.exit(main())
