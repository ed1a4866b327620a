"""What an administrator decided about applications of a zone: files of `data/trust/<zone>/`.

    trusted/   certificates of applications that get in although no anchor of the zone vouches for them
    inbox/     certificates that nobody has decided about yet
    rejected/  certificates that shall not wait in the inbox again
    issuers/   authorities that may stand between an anchor and an application
    crls/      revocation lists of issuers; those of anchors are named in `zones[].crls`

A file moves between the first three by rename, so a decision is one step beside a running gateway. They hold
PEM, the application first and then what it sent along; DER is read as well. Every file is used or named as
unusable. One that becomes unusable counts no more: a certificate less is trusted, never one more.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from cryptography import x509
from msgspec import Struct

from gateway.identity import application, revocation
from gateway.identity.anchors import name_of
from gateway.identity.application import raw
from gateway.identity.keyfile import read_public
from gateway.identity.revocation import RevocationList
from gateway.model.errors import IdentityError

Decision = Literal["trusted", "inbox", "rejected"]
SUBFOLDERS = ("trusted", "inbox", "rejected", "issuers", "crls")
MOST_FILES = 256
"Files that are read of one folder. A plant with more applications gives them an authority."
MOST_FILE_BYTES = 65_536
"The longest certificate file here; PEM of the longest chain is a fifth of it."

Stamp = tuple[tuple[str, int, int, int], ...]
"Of each file: where, when changed, how long, which inode."


class Held(Struct, frozen=True):
    """What the files say."""

    approved: frozenset[bytes] = frozenset()
    issuers: tuple[x509.Certificate, ...] = ()
    sent: tuple[x509.Certificate, ...] = ()
    "What approved applications sent along."
    lists: Mapping[bytes, RevocationList] = {}
    dated: tuple[tuple[str, int], ...] = ()
    "Who expires when (ns since 1970)."


def prepare(folder: Path) -> None:
    """Make what is not there yet, for nobody else's eyes."""
    for path in (folder.parent, folder, *(folder / name for name in SUBFOLDERS)):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise IdentityError(f"{path} cannot be made: {error.strerror}") from None
        hand_over(path)


def hand_over(path: Path) -> None:
    """What a command made as root belongs to whom the folder belongs: the gateway is another user."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def stamp(folder: Path) -> Stamp:
    """Whether anything that `load` reads has changed is whether this has."""
    found = []
    for name in ("trusted", "issuers", "crls"):
        for file in files(folder / name):
            try:
                stat = file.stat()
            except OSError:
                continue
            found.append((f"{name}/{file.name}", stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def load(
    folder: Path, anchors: tuple[x509.Certificate, ...], before: Mapping[bytes, RevocationList]
) -> tuple[Held, list[str]]:
    """What the files say, and what is wrong with those that are not used."""
    problems: list[str] = []
    approved: list[x509.Certificate] = []
    issuers: list[x509.Certificate] = []
    sent: list[x509.Certificate] = []
    for _, found in _certificates(folder / "trusted", problems):
        approved.append(found[0])
        sent += found[1:]
    for file, found in _certificates(folder / "issuers", problems):
        for each in found:
            try:
                application.issuer_usage(each, 0)
                issuers.append(each)
            except application.Unfit as unfit:
                problems.append(f"{file}: {unfit}")
    lists = _lists(folder / "crls", anchors, (*issuers, *sent), before, problems)
    return (
        Held(
            frozenset(raw(each) for each in approved),
            tuple(dict.fromkeys(issuers)),
            tuple(dict.fromkeys(sent)),
            lists,
            tuple((name_of(each), application.until_ns(each)) for each in (*approved, *issuers)),
        ),
        problems,
    )


def files(folder: Path) -> list[Path]:
    """The files of one folder by name; what begins with a dot is under way."""
    try:
        return sorted(
            Path(entry.path) for entry in os.scandir(folder) if entry.is_file() and entry.name[0] != "."
        )
    except FileNotFoundError:
        return []


def read(file: Path) -> list[x509.Certificate]:
    """The certificates of a file, PEM or DER; IdentityError where it is not usable."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise IdentityError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > MOST_FILE_BYTES:
        raise IdentityError(f"{file} is longer than {MOST_FILE_BYTES} bytes")
    try:
        if b"-----BEGIN" not in data:
            return application.parse(data)
        found = [raw(each) for each in x509.load_pem_x509_certificates(data)]
        return application.parse(b"".join(found))
    except ValueError as error:
        raise IdentityError(f"{file}: not a certificate: {application.line(error)}") from None
    except application.Unfit as unfit:
        raise IdentityError(f"{file}: {unfit}") from None


def _certificates(folder: Path, problems: list[str]) -> Iterator[tuple[Path, list[x509.Certificate]]]:
    found = files(folder)
    if len(found) > MOST_FILES:
        problems.append(
            f"{folder}: more than {MOST_FILES} files; those from {found[MOST_FILES].name} on count not"
        )
    for file in found[:MOST_FILES]:
        try:
            yield file, read(file)
        except IdentityError as error:
            problems.append(str(error))


def _lists(
    folder: Path,
    anchors: tuple[x509.Certificate, ...],
    issuers: tuple[x509.Certificate, ...],
    before: Mapping[bytes, RevocationList],
    problems: list[str],
) -> dict[bytes, RevocationList]:
    """The newest list of each issuer. An older one put back would let in again whoever was revoked since."""
    lists: dict[bytes, RevocationList] = {}
    for file in files(folder)[:MOST_FILES]:
        try:
            crl = revocation.parse(read_public(file), str(file))
            issuer, listed = revocation.verify(crl, (*anchors, *issuers), str(file))
        except IdentityError as error:
            problems.append(str(error))
            continue
        if issuer in anchors:
            problems.append(f"{file}: of an anchor of this zone: name it in zones[].crls")
            continue
        key = raw(issuer)
        if key in before and not listed.supersedes(before[key]):
            problems.append(f"{file}: older than the list in force (number {listed.number})")
            listed = before[key]
        if key not in lists or listed.supersedes(lists[key]):
            lists[key] = listed
    return lists
