"""dmz-gateway policy rollback: the content of a bundle that was active before, released anew and activated.

An old release stays refused, so that nobody can bring it back by replaying it; its content comes back under a
new serial, which is a new revision. Where a bundle waits for confirmation, this takes it back at once.
"""

import argparse
from base64 import b64decode
from typing import Any

from gateway.cli import person
from gateway.cli.policy.activate import add_confirm_within, add_signing, released, send
from gateway.model.errors import GatewayError
from gateway.policy import archive, bundle


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy rollback`."""
    text = "activate the content of an earlier bundle again, as a new release"
    rollback = below.add_parser("rollback", parents=[person.options()], help=text, description=text)
    rollback.add_argument("revision", nargs="?", help="the beginning is enough; by itself the previous one")
    rollback.add_argument("--list", action="store_true", help="only list what there is to go back to")
    add_confirm_within(rollback)
    add_signing(rollback)
    rollback.set_defaults(run=person.answers(run))


def run(args: argparse.Namespace) -> int:
    """Roll back, or list."""
    someone = person.person(args)
    kept = someone.get("/admin/v1/policy/bundles")
    if args.list:
        return person.say(args, kept, [_line(each) for each in kept["bundles"]] or ["no bundle is kept"])
    revision = _meant(kept, args.revision)
    if kept["signed"] and args.signing_key is None:
        raise GatewayError("this gateway takes signed bundles only: give --signing-key")
    answer = someone.get(f"/admin/v1/policy/bundles/{revision}")
    found = bundle.from_members(archive.unpack(b64decode(answer["archive"]), revision[:12]))
    if found.revision != revision:
        raise GatewayError("the gateway handed out another bundle than was asked for: nothing is signed")
    return send(args, someone, released(found, int(kept["highest"]), args, again=True))


def _meant(kept: dict[str, Any], name: str | None) -> str:
    if name is None:
        if kept["previous"] is None:
            raise GatewayError("no earlier bundle is kept; --list shows those that are")
        return str(kept["previous"])
    fits = [each["revision"] for each in kept["bundles"] if each["revision"].startswith(name)]
    if len(fits) != 1:
        raise GatewayError(f"{'no' if not fits else 'more than one'} kept bundle begins with {name!r}")
    return str(fits[0])


def _line(each: dict[str, Any]) -> str:
    serial = "no serial" if each["serial"] is None else f"serial {each['serial']}"
    state = "active" if each["active"] else "" if each["held"] else "was never confirmed"
    by = each["by"] or "the configured source"
    return f"{each['revision'][:12]}  {serial}, since {each['since']}, by {by}  {state}".rstrip()
