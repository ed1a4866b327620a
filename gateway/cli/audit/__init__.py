"""dmz-gateway audit: read, search, explain and prove the journal; only drop changes something.

    audit tail              the newest records, and on with --follow
    audit search            records that fit all conditions
    audit show ID           one record as a sentence, why, and what belongs to it
    audit timeline          what happened in order, of a subject, on an asset, before a record
    audit report            who wrote what, broken glass, approvals, refusals, gaps: as HTML and CSV
    audit index             bring the index up to date, or build it anew
    audit verify            proof that nothing signed was changed
    audit drop              sensitive fields that records keep by commitment, for good
    audit prove ID          a file that shows to others that one record is in the log
    audit receive           keeps checkpoints of gateways, on another host
    audit export            records as events that SIEMs know, one JSON a line
    audit export-tiles DIR  the log as files for C2SP tools

Each works on the folder of a running gateway, and on a copy of it elsewhere. Exit 0: yes. 1: no (nothing
found, or the journal cannot be read to its end, so that it is not all). 2: the call is wrong.
"""

import argparse
import importlib

COMMANDS = (
    "tail",
    "search",
    "show",
    "timeline",
    "report",
    "index",
    "verify",
    "prove",
    "drop",
    "receive",
    "export",
    "tiles",
)
"Modules of this package, each with `add(below)`."


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `audit` and what is below it."""
    group = commands.add_parser("audit", help="read, search and verify the journal")
    below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        importlib.import_module(f"gateway.cli.audit.{command}").add(below)
