"""dmz-gateway pki inbox: which unknown OPC UA applications wait, and whether they get in.

Works on the data folder, beside a running gateway or without one: each decision is one rename there, which
the gateway sees by itself. So whoever may write there decides. docs/guides/opcua-certificates.md.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.cli.status import data_folder
from gateway.config.read import look
from gateway.config.settings import Settings
from gateway.identity import application, trust_folder
from gateway.identity.anchors import name_of
from gateway.identity.application import Unfit
from gateway.identity.applications import Applications
from gateway.identity.certificate import Refused, fingerprint
from gateway.identity.inbox import Entry, Inbox
from gateway.identity.trust import ZoneTrust
from gateway.identity.trust_folder import Decision
from gateway.model.errors import GatewayError, IdentityError
from gateway.model.moment import Now
from gateway.ops.folder import FORMAT

STATES: dict[Decision, str] = {"inbox": "waiting", "trusted": "approved", "rejected": "rejected"}
LEAST_ID = 16
"""Hexadecimal digits that name a certificate to approve. A stranger can make one whose fingerprint begins
with eight digits of his choice in an afternoon, and have it wait here in the place of the other."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `inbox` and its commands to `pki`."""
    group = verbs.add_parser("inbox", help="unknown OPC UA applications: list, approve, reject")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    where = common.add_mutually_exclusive_group(required=True)
    where.add_argument("-c", "--config", type=Path, help="gateway.yaml of the gateway")
    where.add_argument("--data", type=Path, help="its data folder")
    common.add_argument("--zone", help="where two zones know the certificate")
    common.add_argument("--json", action="store_true", help="print JSON")

    listing = commands.add_parser("list", parents=[common], help="what waits")
    listing.add_argument("--all", action="store_true", help="also what was approved or rejected")
    listing.set_defaults(run=_list)

    approve = commands.add_parser("approve", parents=[common], help="let an application in")
    which = approve.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "id", nargs="?", help=f"its SHA-256 fingerprint, or the first {LEAST_ID} digits or more"
    )
    which.add_argument(
        "--file", type=Path, help="its certificate, PEM or DER, that never waited; with --zone"
    )
    approve.set_defaults(run=_approve)

    reject = commands.add_parser(
        "reject", parents=[common], help="keep it out, from now on if it was approved"
    )
    reject.add_argument("id", help="its SHA-256 fingerprint, or how it begins")
    reject.set_defaults(run=_reject)


def _list(args: argparse.Namespace) -> int:
    places = _Places(args)
    found = [
        places.facts(zone, entry)
        for zone, inbox in places.inboxes()
        for entry in inbox.entries()
        if args.all or entry.state == "inbox"
    ]
    lines = [line for each in found for line in _lines(each)]
    return _say(args, {"certificates": found}, lines or ["nothing waits"])


def _approve(args: argparse.Namespace) -> int:
    places = _Places(args)
    if args.file is not None:
        inbox = places.inbox_of(args.zone)
        chain = trust_folder.read(args.file)
        inbox.add(chain, datetime.now(UTC))
        zone, entry = args.zone, inbox.find(fingerprint(application.raw(chain[0])))
    else:
        if len(args.id.replace(":", "")) < LEAST_ID:
            raise GatewayError(f"{args.id!r} is too short to approve by: {LEAST_ID} digits or more")
        zone, entry = places.find(args.id)
        places.inbox_of(zone).approve(entry)
        entry = places.inbox_of(zone).find(entry.fingerprint)
    facts = places.facts(zone, entry)
    return _say(args, facts, _lines(facts))


def _reject(args: argparse.Namespace) -> int:
    places = _Places(args)
    zone, entry = places.find(args.id)
    inbox = places.inbox_of(zone)
    inbox.reject(entry)
    facts = places.facts(zone, inbox.find(entry.fingerprint))
    return _say(args, facts, _lines(facts))


class _Places:
    """The zones of a data folder; with a configuration also whom they trust."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.data: Path = args.data or data_folder(args.config)
        self.zone: str | None = args.zone
        # Half edited, it still says where the data is; only what depends on anchors is left out then.
        self.settings: Settings | None = look(args.config).settings if args.config else None
        wall_ns = time.time_ns()
        self.now = Now(wall_ns, 0, trusted=True, judge_ns=wall_ns)
        if not self.data.is_dir():
            raise GatewayError(f"{self.data} is no data folder: the gateway makes it when it starts")
        text = (self.data / "format").read_text().strip() if (self.data / "format").exists() else str(FORMAT)
        if text != str(FORMAT):
            raise GatewayError(f"{self.data} has format {text}, this program knows {FORMAT}")

    def inboxes(self) -> Iterator[tuple[str, Inbox]]:
        """Of each zone that anybody ever knocked at, or of the one that was named."""
        trust = self.data / "trust"
        for folder in sorted(trust.iterdir()) if trust.is_dir() else ():
            if self.zone in (None, folder.name):
                yield folder.name, Inbox(folder)

    def inbox_of(self, zone: str | None) -> Inbox:
        """The inbox of one zone, there or to be made."""
        if zone is None:
            raise GatewayError("name the --zone")
        known = {each.name for each in self.settings.zones} if self.settings else set()
        if zone not in known and not (self.data / "trust" / zone / "trusted").is_dir():
            raise GatewayError(
                f"no zone {zone!r}" + (f"; there are {', '.join(sorted(known))}" if known else "")
            )
        return Inbox(self.data / "trust" / zone)

    def find(self, prefix: str) -> tuple[str, Entry]:
        """The certificate that is meant, and its zone."""
        found = []
        for zone, inbox in self.inboxes():
            try:
                found.append((zone, inbox.find(prefix)))
            except IdentityError as error:
                if not str(error).startswith("no "):
                    raise
        if len(found) != 1:
            where = f"in {' and '.join(zone for zone, _ in found)}: say --zone" if found else "nowhere"
            raise GatewayError(f"a certificate whose fingerprint begins with {prefix!r} is {where}")
        return found[0]

    def facts(self, zone: str, entry: Entry) -> dict[str, Any]:
        """Everything that an administrator compares."""
        leaf = entry.chain[0]
        try:
            uri = application.application_uri(leaf)
        except Unfit:
            uri = None
        return {
            "zone": zone,
            "state": STATES[entry.state],
            "fingerprint": entry.fingerprint,
            "thumbprint_sha1": hashlib.sha1(application.raw(leaf), usedforsecurity=False).hexdigest(),
            "application_uri": uri,
            "name": name_of(leaf),
            "issuer": leaf.issuer.rfc4514_string(),
            "not_before": leaf.not_valid_before_utc.isoformat(),
            "not_after": leaf.not_valid_after_utc.isoformat(),
            "since": entry.seen.at.isoformat(timespec="seconds") if entry.seen else None,
            "source": entry.seen.source if entry.seen else None,
            "refused": entry.seen.why or None if entry.seen else None,
            "if_approved": self._verdict(zone, entry),
            "file": str(entry.file),
        }

    def _verdict(self, zone: str, entry: Entry) -> str | None:
        """What the gateway says once it is approved; null where nobody can tell without a configuration."""
        named = (
            next((each for each in self.settings.zones if each.name == zone), None) if self.settings else None
        )
        if named is None:
            return None
        try:
            said = Applications(ZoneTrust(named), self.data / "trust" / zone).if_approved(entry.der, self.now)
        except IdentityError as error:
            return f"unknown: {error}"
        return f"refused, {said.code}: {said.message}" if isinstance(said, Refused) else "gets in"


def _lines(facts: dict[str, Any]) -> list[str]:
    by = "itself" if facts["issuer"] == facts["name"] else facts["issuer"]
    came = f"since {facts['since']}, from {facts['source']}" if facts["since"] else "put there by hand"
    lines = [
        f"{facts['zone']}  {facts['state']}  {facts['fingerprint']}",
        f"  application   {facts['application_uri'] or '(no ApplicationUri)'}",
        f"  name          {facts['name']}, issued by {by}",
        f"  valid         {facts['not_before'][:10]} to {facts['not_after'][:10]}",
        f"  thumbprint    {facts['thumbprint_sha1']} (SHA-1, as OPC UA tools show it)",
        f"  {came}" + (f", refused then: {facts['refused']}" if facts["refused"] else ""),
    ]
    if facts["if_approved"] is not None and facts["state"] != "rejected":
        when = "if approved" if facts["state"] == "waiting" else "now"
        lines.append(f"  {when}: {facts['if_approved']}")
    return [_shown(line) for line in lines]


def _shown(line: str) -> str:
    """Names in certificates are a stranger's text: no escape sequence of it reaches the terminal."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)


def _say(args: argparse.Namespace, facts: Any, lines: list[str]) -> int:
    print(json.dumps(facts, indent=2) if args.json else "\n".join(lines))
    return 0
