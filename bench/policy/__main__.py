"""`bench/run policy`: what a decision costs, beside OPA. See bench/README.md.

Exit 0: measured. 1: the run failed. 2: the call is wrong.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.gates import tell
from bench.policy import costs, load
from bench.programs import BUILD, BenchError
from bench.report import Row

PARTS = ("costs", "load")


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="bench/run policy", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--only", choices=PARTS, help="one part (default both)")
    parser.add_argument("--decisions", type=int, default=load.DECISIONS, help="in the mixed load")
    args = parser.parse_args(arguments)
    bin_folder = str(BUILD.parent / "bin")
    opa = shutil.which("opa", path=os.pathsep.join([bin_folder, os.environ.get("PATH", "")]))
    if opa is None:
        print("bench: there is no opa: its figures are left out", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="dmz-policy-") as name:
        try:
            found: list[Row] = []
            if args.only in (None, "costs"):
                found += costs.rows(Path(name), opa)
            if args.only in (None, "load"):
                found += load.rows(Path(name), args.decisions)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    tell(found, as_json=args.json, to=sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
