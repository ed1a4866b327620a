"""dmz-gateway policy: what people who write policy need, without a gateway running.

    policy check BUNDLE     would a gateway use it (its tests included); what looks mistyped; what is slow
    policy test BUNDLE      its own tests, on the embedded engine and on OPA where that is installed
    policy explain ID       why something was allowed or denied, and the smallest change that would allow it
    policy build BUNDLE     the archive of it that gateways and OPA take, signed
    policy verify ARCHIVE   whose signature it carries
    policy activate BUNDLE  put it to work on a running gateway, on trial first; confirm it
    policy rollback         go back to what was active before

Exit 0: yes. 1: no (a fault, a failing test). 2: there is nothing to answer about, because the call is wrong
or the bundle does not load.
"""

import argparse
import importlib

COMMANDS = ("check", "test", "explain", "replay", "diff", "learn", "build", "verify", "activate", "rollback")
"Modules of this package, each with `add(below)`."


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy` and what is below it."""
    group = commands.add_parser("policy", help="check, test and explain policy bundles")
    below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        importlib.import_module(f"gateway.cli.policy.{command}").add(below)
