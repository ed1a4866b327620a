"""dmz-gateway pki: a two-zone PKI in a folder, with nothing else installed (docs/guides/pki.md)."""

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from cryptography import x509

from gateway.cli import inbox, users
from gateway.identity import founding, profiles
from gateway.identity.authority import ROOT, Authority
from gateway.identity.ledger import Entry
from gateway.identity.profiles import AuthorityKey
from gateway.identity.request import Request
from gateway.model.errors import IdentityError
from gateway.shipped import folder as shipped


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `pki` and its commands."""
    group = commands.add_parser("pki", help="make and keep certificates")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", type=Path, required=True, help="the PKI folder")
    common.add_argument(
        "--profiles", type=Path, default=shipped("pki"), help="folder of another profiles.toml"
    )
    common.add_argument("--json", action="store_true", help="for programs")

    init = verbs.add_parser("init", parents=[common], help="a root, an authority for each zone, empty CRLs")
    init.add_argument("--trust-domain", required=True, help="such as plant-a.example")
    init.add_argument(
        "--authority-key",
        choices=get_args(AuthorityKey),
        help="rsa-3072 where OPC UA stacks take RSA alone, all the way up",
    )
    init.set_defaults(run=_init)

    issue = verbs.add_parser("issue", parents=[common], help="a key and a certificate")
    issue.add_argument("--profile", required=True)
    issue.add_argument("--zone", required=True)
    issue.add_argument("--name", required=True)
    issue.add_argument("--role", help="Modbus role (profile modbus-client)")
    issue.add_argument("--dns", action="append", default=[], help="DNS name; repeatable")
    issue.add_argument("--ip", action="append", default=[], help="IP address; repeatable")
    issue.add_argument("--uri", help="ApplicationUri (profile opcua-application)")
    issue.add_argument("--days", type=int)
    issue.add_argument("--out", type=Path, metavar="PREFIX", help="write PREFIX.pem and PREFIX.key")
    issue.set_defaults(run=_issue)

    renew = verbs.add_parser("renew", parents=[common], help="same subject and profile, new life")
    renew.add_argument("--zone", help="where two zones know the name")
    renew.add_argument("--name", required=True)
    renew.add_argument("--days", type=int)
    renew.set_defaults(run=_renew)

    revoke = verbs.add_parser("revoke", parents=[common], help="and write the zone's CRL")
    revoke.add_argument("--zone", help="where two zones know the name")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("--name", help="all certificates of that name that still count")
    which.add_argument("--serial", help="hexadecimal")
    revoke.set_defaults(run=_revoke)

    listing = verbs.add_parser("list", parents=[common], help="what there is, until when, and its state")
    listing.add_argument("--zone")
    listing.set_defaults(run=_list)

    crl = verbs.add_parser("crl", parents=[common], help="sign the CRLs again (from a timer)")
    crl.add_argument("--zone", help="one zone, or root; default: every authority whose key is here")
    crl.set_defaults(run=_crl)

    inbox.add(verbs)
    users.add(verbs)


def _init(args: argparse.Namespace) -> int:
    authority = founding.init(
        args.dir, args.trust_domain, profiles.load(args.profiles), _now(), key=args.authority_key
    )
    zones = [
        {
            "name": zone,
            "anchors": str(args.dir / zone / "anchors.pem"),
            "crl": str(args.dir / zone / "crl.pem"),
        }
        for zone in authority.zones
    ]
    root_key = str(args.dir / ROOT / "ca.key")
    facts = {
        "dir": str(args.dir),
        "trust_domain": authority.trust_domain,
        "zones": zones,
        "root_key": root_key,
    }
    lines = [f"made {args.dir} for {authority.trust_domain}: root, {', '.join(authority.zones)}"]
    lines += [f"zone {zone['name']}: anchors {zone['anchors']}, crl {zone['crl']}" for zone in zones]
    lines.append(f"take {root_key} offline: only `pki crl --zone root` needs it again")
    return _say(args, facts, lines)


def _issue(args: argparse.Namespace) -> int:
    authority = _open(args)
    request = Request(
        profile=args.profile,
        zone=args.zone,
        name=args.name,
        role=args.role,
        dns=tuple(args.dns),
        ips=tuple(args.ip),
        uri=args.uri,
        days=args.days,
        out=args.out,
    )
    return _made(args, authority, args.zone, authority.issue(request, _now()))


def _renew(args: argparse.Namespace) -> int:
    authority = _open(args)
    zone = _zone(authority, args, lambda entry: entry.name == args.name)
    return _made(args, authority, zone, authority.renew(zone, args.name, _now(), args.days))


def _revoke(args: argparse.Namespace) -> int:
    authority = _open(args)
    serial = args.serial.lower().removeprefix("0x").replace(":", "").lstrip("0") if args.serial else None
    zone = _zone(authority, args, lambda entry: entry.name == args.name or entry.serial == serial)
    now = _now()
    revoked = authority.revoke(zone, now, name=args.name, serial=serial)
    crl = args.dir / zone / "crl.pem"
    facts = {"zone": zone, "revoked": [_facts(authority, zone, e, now) for e in revoked], "crl": str(crl)}
    lines = [f"revoked {entry.name} (serial {entry.serial})" for entry in revoked]
    return _say(args, facts, [*lines, f"wrote {crl}"])


def _list(args: argparse.Namespace) -> int:
    authority, now = _open(args), _now()
    entries = authority.entries(args.zone)
    above = [
        _authority_facts(args.dir, name) for name in (ROOT, *authority.zones) if args.zone in (None, name)
    ]
    facts = {
        "trust_domain": authority.trust_domain,
        "authorities": above,
        "certificates": [_facts(authority, zone, entry, now) for zone, entry in entries],
    }
    rows = [("ZONE", "NAME", "PROFILE", "ROLE", "STATE", "EXPIRES", "SERIAL")]
    rows += [
        (
            zone,
            entry.name,
            entry.profile,
            entry.role or "-",
            entry.state(now),
            f"{entry.not_after:%Y-%m-%d}",
            entry.serial,
        )
        for zone, entry in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += [
        f"authority {a['name']}: expires {a['expires']}, CRL until {a['crl_next_update']}" for a in above
    ]
    return _say(args, facts, lines)


def _crl(args: argparse.Namespace) -> int:
    signed = _open(args).sign_lists(_now(), args.zone)
    if not signed:
        raise IdentityError(f"{args.dir} holds no authority's key")
    facts = [
        {
            "authority": s.authority,
            "path": str(s.path),
            "number": s.number,
            "next_update": s.next_update.isoformat(),
        }
        for s in signed
    ]
    lines = [f"{s.path}: number {s.number}, good until {s.next_update.isoformat()}" for s in signed]
    return _say(args, {"crls": facts}, lines)


def _open(args: argparse.Namespace) -> Authority:
    return Authority(args.dir, profiles.load(args.profiles))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _zone(authority: Authority, args: argparse.Namespace, meant: Callable[[Entry], bool]) -> str:
    """The zone that was said, or the only one that knows the certificate."""
    if args.zone is not None:
        return str(args.zone)
    found = sorted({zone for zone, entry in authority.entries() if meant(entry)})
    if len(found) != 1:
        where = f"in {' and '.join(found)}: say --zone" if found else "in no zone"
        raise IdentityError(f"{args.name or args.serial!r} was issued {where}")
    return found[0]


def _made(args: argparse.Namespace, authority: Authority, zone: str, entry: Entry) -> int:
    facts = _facts(authority, zone, entry, _now())
    lines = [
        f"{entry.uri}" + (f", role {entry.role}" if entry.role else ""),
        f"certificate {facts['certificate']}",
        f"key {facts['key']}",
        f"serial {entry.serial}, expires {facts['expires']}",
    ]
    return _say(args, facts, lines)


def _facts(authority: Authority, zone: str, entry: Entry, now: datetime) -> dict[str, Any]:
    certificate = authority.certificate_file(entry)
    return {
        "zone": zone,
        "name": entry.name,
        "profile": entry.profile,
        "uri": entry.uri,
        "role": entry.role,
        "dns": list(entry.dns),
        "ips": list(entry.ips),
        "serial": entry.serial,
        "state": entry.state(now),
        "expires": entry.not_after.isoformat(),
        "certificate": str(certificate),
        "key": str(certificate.with_suffix(".key")),
    }


def _authority_facts(folder: Path, name: str) -> dict[str, Any]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / name / "ca.pem").read_bytes())
        crl = x509.load_pem_x509_crl((folder / name / "crl.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise IdentityError(f"{folder / name}: {error}") from None
    return {
        "name": name,
        "expires": certificate.not_valid_after_utc.isoformat(),
        "crl_next_update": crl.next_update_utc.isoformat() if crl.next_update_utc else None,
    }


def _say(args: argparse.Namespace, facts: Any, lines: list[str]) -> int:
    print(json.dumps(facts, indent=2) if args.json else "\n".join(lines))
    return 0
