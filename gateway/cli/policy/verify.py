"""dmz-gateway policy verify: whose signature an archive carries, and whether it is in time."""

import argparse
import json
import time
from pathlib import Path

from gateway.cli.policy import given
from gateway.cli.policy.build import described, words
from gateway.model.errors import Fault, PolicyError
from gateway.model.moment import SECOND
from gateway.policy import archive, bundle, signature
from gateway.policy.bundle import Bundle


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy verify`."""
    verify = given.command(below, "verify", "whose signature an archive carries, and whether it is in time")
    verify.add_argument("archive", type=Path, metavar="ARCHIVE", help="dmz.tar.gz")
    verify.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        metavar="PUB",
        help="public key, PEM, its file named as its key id; give each that may sign",
    )
    verify.add_argument("--scope", default="", help="the scope that the signature must name")
    verify.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify as a gateway does, but for serials that it has seen. Raises PolicyError for an unusable key."""
    given.there(args.archive)
    keys = signature.public_keys(tuple(args.key))
    now_ns = time.time_ns()
    try:
        members = archive.read(args.archive)
        signed = signature.verify(members, keys, scope=args.scope, judge_ns=now_ns)
        found = bundle.from_members(members)
        _in_time(found, now_ns)
    except PolicyError as error:
        given.say_faults(error.faults, as_json=args.json)
        return 1
    if args.json:
        print(json.dumps({**described(found), "signed_by": signed.key_id, "faults": []}))
    else:
        print(f"{args.archive}: revision {found.revision}")
        print(words(found, f"signed with {signed.key_id}"))
    return 0


def _in_time(found: Bundle, now_ns: int) -> None:
    if found.release is None:
        fault = Fault("release.json", "is missing", "build it with dmz-gateway policy build")
        raise PolicyError([fault])
    expires = found.release.expires_ns
    if expires is not None and now_ns >= expires:
        ago = (now_ns - expires) // (3_600 * SECOND)
        raise PolicyError([Fault("release.json", f"expired {ago} hours ago", "release it again")])
