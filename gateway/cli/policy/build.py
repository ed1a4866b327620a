"""dmz-gateway policy build: check a bundle, and make the archive of it that gateways and OPA take.

Equal content, serial and times give equal bytes, but for ECDSA signatures, which hold fresh random numbers.
"""

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from gateway.cli.policy import given
from gateway.identity import keyfile
from gateway.model.errors import PolicyError
from gateway.model.moment import SECOND
from gateway.policy import archive, bundle, signature
from gateway.policy.bundle import SIGNATURES, Bundle
from gateway.policy.decider import prepare
from gateway.policy.release import MOST_SERIAL, Release, rfc3339

UNITS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy build`."""
    build = given.command(below, "build", "check a bundle and make the archive that gateways and OPA take")
    given.add_bundle(build)
    build.add_argument("-o", "--output", type=Path, required=True, metavar="ARCHIVE", help="dmz.tar.gz")
    build.add_argument("--signing-key", type=Path, metavar="KEY", help="private key, PEM, mode 0600")
    build.add_argument(
        "--key-id", metavar="ID", help="how gateways call the key; by itself the name of its file"
    )
    build.add_argument("--scope", default="", help="what the signature is for, where gateways ask for one")
    build.add_argument(
        "--serial",
        type=_serial,
        default=None,
        metavar="N|auto",
        help="higher than any before; auto: the milliseconds since 1970, or one more than ARCHIVE has now",
    )
    build.add_argument(
        "--expires", type=_duration, metavar="30d", help="until when gateways activate it: 12h, 30d, 4w"
    )
    build.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build. 1 where a gateway would refuse the bundle: then nothing is written."""
    try:
        found = given.read(given.there(args.bundle))
        prepare(found)
    except PolicyError as error:
        given.say_faults(error.faults, as_json=args.json)
        return 1
    issued_ms = _issued_ms()
    issued_s = issued_ms // 1000
    built = found.released(_release(args, found, issued_ms))
    members = built.members()
    key_id = None
    if args.signing_key is not None:
        key_id = args.key_id or args.signing_key.stem
        members[SIGNATURES] = _signature(args, members, key_id, issued_s)
    keyfile.replace(args.output, archive.pack(members))
    _say(args, built, key_id)
    return 0


def _issued_ms() -> int:
    """Now, or what makes builds repeatable; milliseconds since 1970."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return int(epoch) * 1000 if epoch else int(time.time() * 1000)


def _release(args: argparse.Namespace, found: Bundle, issued_ms: int) -> Release:
    """The release; content that was released before is said to be a reissue.

    The serial by itself counts milliseconds: two that a script releases within a second are two.
    """
    serial = args.serial
    if serial is None:
        serial = max(issued_ms, _serial_at(args.output) + 1)
    issued_s = issued_ms // 1000
    return Release(
        serial=serial,
        issued_ns=issued_s * SECOND,
        expires_ns=None if args.expires is None else (issued_s + args.expires) * SECOND,
        reissue_of=None if found.release is None else found.revision,
    )


def _serial_at(output: Path) -> int:
    """The serial of the archive that is there now; 0 where there is none. PolicyError for another file."""
    if not output.exists():
        return 0
    there = bundle.read(output).release
    return 0 if there is None else there.serial


def _signature(args: argparse.Namespace, members: dict[str, bytes], key_id: str, issued_s: int) -> bytes:
    keyfile.require_private(args.signing_key)
    key = signature.private_key(args.signing_key.read_bytes(), str(args.signing_key))
    return signature.sign(members, key, key_id, scope=args.scope, iat_s=issued_s)


def _say(args: argparse.Namespace, built: Bundle, key_id: str | None) -> None:
    report = {"archive": str(args.output), **described(built), "signed_by": key_id}
    if args.json:
        print(json.dumps(report))
        return
    print(f"{args.output}: revision {built.revision}")
    print(words(built, f"signed with {key_id}" if key_id else "not signed"))


def described(built: Bundle) -> dict[str, Any]:
    """What a released bundle says of itself, for programs."""
    release = built.release
    if release is None:
        return {"revision": built.revision, "serial": None}
    return {
        "revision": built.revision,
        "serial": release.serial,
        "issued": rfc3339(release.issued_ns),
        "expires": None if release.expires_ns is None else rfc3339(release.expires_ns),
        "reissue_of": release.reissue_of,
    }


def words(built: Bundle, signed: str) -> str:
    """The same for people."""
    stated = described(built)
    if stated["serial"] is None:
        return f"no serial, {signed}"
    until = f"expires {stated['expires']}" if stated["expires"] else "never expires"
    again = f", the content of {stated['reissue_of'][:12]} again" if stated["reissue_of"] else ""
    return f"serial {stated['serial']}, issued {stated['issued']}, {until}, {signed}{again}"


def _serial(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_SERIAL:
        raise argparse.ArgumentTypeError("`auto`, or an integer from 1")
    return int(text)


def _duration(text: str) -> int:
    """Seconds."""
    fits = re.fullmatch(r"([1-9]\d{0,4})([hdw])", text)
    if fits is None:
        raise argparse.ArgumentTypeError("a time like 12h, 30d or 4w")
    return int(fits[1]) * UNITS[fits[2]]
