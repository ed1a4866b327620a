"""dmz-gateway policy activate, confirm: put a tested bundle to work on a running gateway, as a person.

    policy activate BUNDLE --check                  what would change, without changing it
    policy activate BUNDLE --confirm-within 10m     it is taken back unless it is confirmed in time
    policy confirm REVISION

Exit 1: policy does not allow it, or the bundle is refused; every fault is told.
"""

import argparse
import re
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from gateway.admin.activation_routes import LEAST_CONFIRM_S, MOST_CONFIRM_S
from gateway.admin.client import Person
from gateway.cli import person
from gateway.cli.policy import given
from gateway.identity import keyfile
from gateway.model.errors import GatewayError, PolicyError
from gateway.model.moment import SECOND
from gateway.policy import archive, signature
from gateway.policy.bundle import SIGNATURES, Bundle
from gateway.policy.release import Release

WAIT_S = 150.0
"How long the answer may take: longer than the gateway gives itself."
UNITS = {"s": 1, "m": 60, "h": 3_600}
MOST_LINES = 20
"Things of one session that are shown; `--json` has all."


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy activate` and `policy confirm`."""
    text = "activate a bundle on a running gateway"
    activate = below.add_parser("activate", parents=[person.options()], help=text, description=text)
    given.add_bundle(activate)
    activate.add_argument("--check", action="store_true", help="say what would change, and change nothing")
    add_confirm_within(activate)
    add_signing(activate)
    activate.set_defaults(run=person.answers(run))
    text = "let a bundle stay that waits for confirmation"
    confirm = below.add_parser("confirm", parents=[person.options()], help=text, description=text)
    confirm.add_argument("revision", nargs="?", help="the beginning is enough; by itself the one that waits")
    confirm.set_defaults(run=person.answers(_confirm))


def add_confirm_within(parser: argparse.ArgumentParser) -> None:
    """`--confirm-within`."""
    parser.add_argument(
        "--confirm-within", type=_duration, metavar="10m", help="take it back unless confirmed by then"
    )


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Options of who signs."""
    parser.add_argument("--signing-key", type=Path, metavar="KEY", help="private key, PEM, mode 0600")
    parser.add_argument("--key-id", metavar="ID", help="how gateways call the key: its file's name by itself")
    parser.add_argument("--scope", default="", help="what the signature is for, where gateways ask for one")


def run(args: argparse.Namespace) -> int:
    """Activate, or only say what would change."""
    try:
        path = given.there(args.bundle)
        found = given.read(path) if path.is_dir() else None
    except PolicyError as error:
        given.say_faults(error.faults, as_json=args.json)
        return 1
    someone = person.person(args)
    if found is not None:
        highest = int(someone.get("/admin/v1/policy/bundles")["highest"])
        data = released(found, highest, args)
    elif args.signing_key is not None:
        raise GatewayError(f"{path} is an archive: it is sent as it is, signed or not")
    else:
        data = _file(path)
    return send(args, someone, data)


def send(args: argparse.Namespace, someone: Person, data: bytes) -> int:
    """Send an archive, and say what came of it."""
    body: dict[str, Any] = {"archive": b64encode(data).decode()}
    if getattr(args, "check", False):
        told = someone.post("/admin/v1/policy/rehearse", body, WAIT_S)
        return person.say(args, told, [f"{_name(told)} would be accepted", *impact(told["impact"])])
    body["confirm_within_s"] = args.confirm_within
    told = someone.post("/admin/v1/policy/activate", body, WAIT_S)
    if "returned_from" in told:
        return person.say(args, told, [f"taken back: {told['revision'][:12]} is active again"])
    return person.say(args, told, [f"{_name(told)} is active", *impact(told["impact"]), *_next(told)])


def released(found: Bundle, highest: int, args: argparse.Namespace, *, again: bool = False) -> bytes:
    """An archive of a bundle with the next serial; `again` says that it is the content of that bundle."""
    now_ms = int(time.time() * 1000)
    now_s = now_ms // 1000
    release = Release(
        serial=max(now_ms, highest + 1) if not again else highest + 1,
        issued_ns=now_s * SECOND,
        reissue_of=found.revision if again else None,
    )
    members = found.released(release).members()
    if args.signing_key is not None:
        keyfile.require_private(args.signing_key)
        key = signature.private_key(args.signing_key.read_bytes(), str(args.signing_key))
        key_id = args.key_id or args.signing_key.stem
        members[SIGNATURES] = signature.sign(members, key, key_id, scope=args.scope, iat_s=now_s)
    return archive.pack(members)


def impact(told: dict[str, Any]) -> list[str]:
    """What flips, for people: who gains first."""
    lines = []
    if not told["rehearsed"] and not told["left_out"]:
        lines.append("nothing is read through the gateway now, so nothing could be rehearsed")
    else:
        lines.append(
            f"of {told['rehearsed']} questions that are asked now {told['widened']} denied ones would be "
            f"allowed, {told['narrowed']} allowed ones denied"
        )
    if told["left_out"]:
        lines.append(f"{told['left_out']} were not rehearsed: {told['why']}")
    for session in told["sessions"]:
        verb = "GAINS" if session["becomes"] == "allow" else "loses"
        lines.append(f"  {verb}  {session['subject']} from {session['source']} at {session['listener']}")
        lines += [f"         {thing}" for thing in session["what"][:MOST_LINES]]
        if len(session["what"]) > MOST_LINES:
            lines.append(f"         and {len(session['what']) - MOST_LINES} more")
    lines.append("writes are never rehearsed: dmz-gateway policy replay says what of the journal would turn")
    return lines


def _next(told: dict[str, Any]) -> list[str]:
    """What is to be done now."""
    lines = []
    if told["confirm_until"]:
        lines += [
            f"ON TRIAL until {told['confirm_until']}: then the bundle before is active again, unless you run",
            f"  dmz-gateway policy confirm {told['revision'][:12]}",
        ]
    if told["instead_of"] is not None:
        lines += stands(told)
    return lines


def stands(told: dict[str, Any]) -> list[str]:
    """That it stands in the place of the configured bundle, and how it becomes that."""
    over = told["instead_of"][:12] or "nothing usable"
    return [
        f"it stands in the place of the configured bundle ({over}) until that becomes another one;",
        "put it where policy.bundle or policy.service points, and it is permanent",
    ]


def _confirm(args: argparse.Namespace) -> int:
    someone = person.person(args)
    waiting = someone.get("/admin/v1/policy/bundles")["waiting"]
    if waiting is None or not waiting["revision"].startswith(args.revision or ""):
        raise GatewayError("no bundle waits for confirmation" + (" by that name" if waiting else ""))
    told = someone.post("/admin/v1/policy/confirm", {"revision": waiting["revision"]})
    lines = [f"{told['revision'][:12]} is confirmed"]
    return person.say(args, told, lines + (stands(told) if told["instead_of"] is not None else []))


def _name(told: dict[str, Any]) -> str:
    serial = "no serial" if told["serial"] is None else f"serial {told['serial']}"
    return f"{told['revision'][:12]} ({serial}, {told['signed_by'] or 'not signed'})"


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(archive.MOST_PACKED + 1)
    except OSError as error:
        raise GatewayError(f"{path} cannot be read: {error.strerror}") from None


def _duration(text: str) -> int:
    """Seconds."""
    fits = re.fullmatch(r"([1-9]\d{0,4})([smh])", text)
    seconds = int(fits[1]) * UNITS[fits[2]] if fits else 0
    if not LEAST_CONFIRM_S <= seconds <= MOST_CONFIRM_S:
        raise argparse.ArgumentTypeError(f"a time like 30s, 10m, 2h; {LEAST_CONFIRM_S} s to a day")
    return seconds
