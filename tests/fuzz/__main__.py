"""`python -m tests.fuzz`: FUZZ_RUNS runs (twenty million if it says nothing) over all targets, by atheris.

With a target's name: that one alone. atheris ends its process when it is done, so each target has its own.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

from tests.fuzz import corpora

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / ".build" / "fuzz"
ALL = 20_000_000
"Half of them for the readers of OPC UA."

with atheris.instrument_imports(include=["gateway.wire", "gateway.identity"]):
    from tests.fuzz.targets import TARGETS


def one(name: str, runs: int, seconds: int, found: Path, seed: int) -> None:
    """Fuzz one target; does not return. New inputs go to `found`, the exit code is 0 if nothing broke."""
    crashes = FOUND / "crashes"
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    unpack(name, found)
    options = [
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={TARGETS[name].most}",
        f"-artifact_prefix={crashes}/{name}-",
        "-timeout=10",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(found)], TARGETS[name].run)
    atheris.Fuzz()


def tell(line: str) -> None:
    """One line for people, between those of libFuzzer."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def unpack(name: str, folder: Path) -> None:
    """Lay the kept inputs out as libFuzzer wants them: a file each."""
    for number, data in enumerate(corpora.kept(name)):
        (folder / f"kept-{number}").write_bytes(data)


def every(runs: int) -> int:
    """Fuzz them all, one after the other."""
    broken = []
    for name, target in TARGETS.items():
        tell(f"— {name}: {int(runs * target.share)} runs")
        call = [sys.executable, "-m", "tests.fuzz", name, f"--runs={int(runs * target.share)}"]
        if subprocess.run(call, cwd=ROOT, check=False).returncode:
            broken.append(name)
    tell(f"broken: {', '.join(broken)}; see {FOUND / 'crashes'}" if broken else "nothing is broken")
    return bool(broken)


def minimise(name: str) -> None:
    """Keep the fewest of the kept and the found inputs that reach what all of them reach."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    unpack(name, found)
    with TemporaryDirectory() as folder:
        chosen = Path(folder, "chosen")
        chosen.mkdir()
        itself = Path(folder, "itself")  # libFuzzer starts itself again, by the name that it was started by
        itself.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz {name} --options "$0" "$@"\n')
        itself.chmod(0o700)
        merge = [str(itself), "-merge=1", f"-max_len={TARGETS[name].most}", str(chosen), str(found)]
        subprocess.run(merge, cwd=ROOT, check=True)
        corpora.keep(name, [path.read_bytes() for path in chosen.iterdir()])


def raw(name: str, options: list[str]) -> None:
    """libFuzzer with options of its own; does not return."""
    atheris.Setup(options, TARGETS[name].run)
    atheris.Fuzz()


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("FUZZ_RUNS", ALL)))
    parser.add_argument("--seconds", type=int, default=0, help="at most so long; 0 is for ever")
    parser.add_argument("--seed", type=int, default=0, help="0 is another one each time")
    parser.add_argument("--found", type=Path, help="where new inputs go (.build/fuzz/TARGET)")
    parser.add_argument("--keep", action="store_true", help="take what was found into the kept inputs")
    parser.add_argument("--options", nargs=argparse.REMAINDER, help="libFuzzer's own, from argv[0] on")
    args = parser.parse_args()
    if args.keep:
        for name in [args.target] if args.target else TARGETS:
            minimise(name)
    elif args.target is None:
        return every(args.runs)
    elif args.options:
        raw(args.target, args.options)
    else:
        one(args.target, args.runs, args.seconds, args.found or FOUND / args.target, args.seed)
    return 0


sys.exit(main())
