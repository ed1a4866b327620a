"""dmz-gateway check: every mistake in a configuration with its line and mend, or what it amounts to.

Looks at the file, at what it names (certificates, keys, anchors, CRLs, the log key, the policy bundle) and at
whether policy and plant agree. Opens no socket and writes nothing. Exit 0: a gateway can run with it; 2: not.
"""

import argparse
import json
import time
from pathlib import Path

import msgspec

from gateway.cli.findings import findings
from gateway.cli.summary import Summary, summary, text
from gateway.config.read import look
from gateway.config.schema import schema
from gateway.model.errors import Fault
from gateway.publish.poll_plan import asset_cost


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `check`."""
    command = commands.add_parser("check", help="name every mistake in a configuration")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("-c", "--config", type=Path, help="gateway.yaml")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of the file")
    command.add_argument("--json", action="store_true", help="answer in JSON")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 if a gateway can run with it, 2 if not."""
    if args.schema:
        print(json.dumps(schema(), indent=2, ensure_ascii=False))
        return 0
    reading = look(args.config, asset_cost)
    faults, warnings, what = list(reading.faults), list(reading.warnings), None
    if reading.settings is not None and reading.document is not None:
        more, doubts = findings(reading.settings, reading.document, time.time_ns())
        faults += more
        warnings += doubts
        what = None if faults else summary(reading.settings)
    (_print_json if args.json else _print_text)(args.config, faults, warnings, what)
    return 2 if faults else 0


def _print_json(config: Path, faults: list[Fault], warnings: list[Fault], what: Summary | None) -> None:
    answer = {
        "file": str(config),
        "ok": not faults,
        "faults": faults,
        "warnings": warnings,
        "summary": what,
    }
    print(json.dumps(msgspec.to_builtins(answer), indent=2, ensure_ascii=False))


def _print_text(config: Path, faults: list[Fault], warnings: list[Fault], what: Summary | None) -> None:
    for fault in faults:
        print(fault)
    for doubt in warnings:
        print(f"warning: {doubt}")
    if what is None:
        mistakes = "1 mistake" if len(faults) == 1 else f"{len(faults)} mistakes"
        print(f"{config}: {mistakes}; no gateway runs with it")
    else:
        print(text(what))
