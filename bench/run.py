"""`make bench`: what a request costs, beside HAProxy and modbus-proxy in the same run.

Exit 0: measured, every answer right. 1: the run failed or an answer was wrong. 2: the call is wrong.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from bench.gates import print_gates
from bench.measure import BENCHES, GATEWAY, PEER, PLAIN_PEER, Bench, Options
from bench.profiled import calls, libraries
from bench.programs import BUILD, BenchError, build
from bench.report import Row, print_json, print_table

SUBJECTS = (PEER, PLAIN_PEER, GATEWAY)
SMOKE = Options(
    seconds=2.0,
    warmup=0.5,
    connections=(64,),
    only=("reads", "mixed", "writes"),
    subjects=(PEER, GATEWAY),
    assets=20,
)
"Quick enough to use between two edits; its figures are noisy."


def main(arguments: list[str] | None = None) -> int:
    """Run the benches that were asked for."""
    parser = _parser()
    args = parser.parse_args(arguments)
    options = _options(args, parser)
    try:
        build()
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
        try:
            bench = Bench(folder, options, _say)
            if args.profile:
                print(calls(bench, BUILD / "gateway.prof"))
            elif args.perf:
                print(libraries(bench, options.assets, BUILD / "gateway.perf"))
            else:
                _report(bench, as_json=args.json)
        finally:
            if args.keep:
                _say(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    except BenchError as error:
        _say(str(error))
        return 1
    return 0


def _report(bench: Bench, *, as_json: bool) -> None:
    everything: list[Row] = []
    for rows in bench.rows():
        everything += rows
        if as_json:
            print_json(rows, sys.stdout)
            sys.stdout.flush()
    if not as_json:
        print_table(everything, sys.stdout)
        print()
        print_gates(everything, sys.stdout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--smoke", action="store_true", help="a quick look: 2 s, 64 connections, 20 assets")
    parser.add_argument("--seconds", type=float, help="length of each measured window (default 10)")
    parser.add_argument("--connections", help="with commas (default 1,16,64)")
    parser.add_argument("--only", help=f"benches, with commas: {','.join(BENCHES)} (default all)")
    parser.add_argument("--subjects", help=f"with commas: {','.join(SUBJECTS)} (default all)")
    parser.add_argument("--assets", type=int, help="1 to 247 (default 200)")
    parser.add_argument("--reloads", type=int, help="policy reloads in each mixed window (default 1)")
    parser.add_argument(
        "--profile", action="store_true", help="instead: the gateway under cProfile, mixed-64"
    )
    parser.add_argument(
        "--perf", action="store_true", help="instead: the gateway under perf, reads-64 and plain-64"
    )
    parser.add_argument("--keep", action="store_true", help="keep the run's folder: logs, journal, policy")
    return parser


def _options(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Options:
    options = SMOKE if args.smoke else Options()
    if args.seconds is not None:
        options = replace(options, seconds=args.seconds)
    if args.assets is not None:
        options = replace(options, assets=args.assets)
    if args.reloads is not None:
        options = replace(options, reloads=args.reloads)
    if args.connections is not None:
        try:
            options = replace(options, connections=tuple(int(n) for n in args.connections.split(",")))
        except ValueError:
            parser.error("--connections wants numbers with commas")
    for name, known in (("only", BENCHES), ("subjects", SUBJECTS)):
        if (given := getattr(args, name)) is not None:
            words = tuple(given.split(","))
            if unknown := set(words) - set(known):
                parser.error(f"--{name}: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
            options = replace(options, **{name: words})
    if options.seconds <= 0 or not 1 <= options.assets <= 247 or options.reloads < 0:
        parser.error("--seconds must be above 0, --assets 1 to 247, --reloads 0 or more")
    if any(not 1 <= n <= 1024 for n in options.connections):
        parser.error("--connections must be 1 to 1024 each")
    return options


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
