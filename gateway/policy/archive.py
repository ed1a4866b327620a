"""An archive: the members of a bundle in one `.tar.gz`, as OPA's bundle services hand it out.

Reading keeps to the part of tar and gzip that no two readers understand differently, because OPA reads the
same bytes: one gzip stream that ends with its checksum and the archive, ustar headers with a right checksum,
plain files and folders. Links, devices, headers that rename other members (pax, GNU), names that leave the
archive, a second member of one name, padding that is not zero: refused. Nothing unread rides along, and a
truncated download is never half a policy.

Writing gives equal bytes for equal members.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.model.errors import Fault, PolicyError

ENDING = ".tar.gz"
"How archive files are called."
MOST_PACKED = 32 * 1024 * 1024
"Bytes of an archive as it is sent: ten times a large estate's."
MOST_UNPACKED = 192 * 1024 * 1024
"Bytes that it may unpack to: 64 MiB of sources, the data a second time for OPA, and its index."
MOST_MEMBERS = 2_010
"Files of a bundle, and what an archive adds."
MOST_FOLDERS = 2_000
"Entries for folders; they say nothing, and are passed over."

_BLOCK = 512
_FILE, _FOLDER = (b"0", b"\0"), b"5"
_USTAR, _GNU = b"ustar\x0000", b"ustar  \0"
_MEND = "build it again with dmz-gateway policy build"


def read(path: Path) -> dict[str, bytes]:
    """The members of an archive file by name. Raises PolicyError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_PACKED + 1)
    except OSError as error:
        fault = Fault(str(path), f"cannot be read: {error.strerror}", "name a folder or a .tar.gz")
        raise PolicyError([fault]) from None
    return unpack(data, path.name)


def unpack(data: bytes, name: str = "archive") -> dict[str, bytes]:
    """The members of an archive by name; `name` is what faults call it. Raises PolicyError."""
    if len(data) > MOST_PACKED:
        raise refused(name, f"is longer than {MOST_PACKED} bytes")
    members: dict[str, bytes] = {}
    folders = 0
    for raw, content in _entries(_unzipped(data, name), name):
        if content is None:
            folders += 1
        else:
            member = _member(raw, name)
            if member in members:
                raise refused(name, f"has two members {member}")
            members[member] = content
        if len(members) > MOST_MEMBERS or folders > MOST_FOLDERS:
            raise refused(name, f"has more than {MOST_MEMBERS} members")
    return members


def pack(members: Mapping[str, bytes]) -> bytes:
    """An archive of these members, equal bytes for equal members. Raises PolicyError for a name too long."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(members):
            entry = tarfile.TarInfo(name)
            entry.size = len(members[name])  # the rest stays: no time, no owner, mode 0644
            try:
                tar.addfile(entry, io.BytesIO(members[name]))
            except ValueError:
                raise PolicyError([Fault(name, "the name is too long", "at most 100 characters")]) from None
    return gzip.compress(whole.getvalue(), mtime=0)


def refused(name: str, what: str, mend: str = _MEND) -> PolicyError:
    """An archive is refused: its name, what is wrong, and the mend."""
    return PolicyError([Fault(name, what, mend)])


def _unzipped(data: bytes, name: str) -> bytes:
    """The tar inside: one gzip stream, whole, its checksum right, and nothing behind it."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        tar = stream.decompress(data, MOST_UNPACKED)
        if not stream.eof and len(tar) >= MOST_UNPACKED:
            raise refused(name, f"unpacks to more than {MOST_UNPACKED} bytes")
    except zlib.error as error:
        raise refused(name, f"is not gzip, or damaged ({error})") from None
    if not stream.eof:
        raise refused(name, "is truncated", "fetch or build it again")
    if stream.unused_data:
        raise refused(name, "has bytes behind its end")
    return tar


def _entries(tar: bytes, name: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Raw name and content of each member; None for a folder."""
    at = 0
    while True:
        header = tar[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise refused(name, "ends in the middle of a member")
        if not header.strip(b"\0"):
            break
        size, kind = _sizes(header, name)
        at += _BLOCK
        padded = -(-size // _BLOCK) * _BLOCK
        content = tar[at : at + size]
        if at + padded > len(tar):
            raise refused(name, "ends in the middle of a member")
        if tar[at + size : at + padded].strip(b"\0"):
            raise refused(name, "has bytes between its members")
        at += padded
        yield _raw_name(header), None if kind == _FOLDER else content
    if len(tar) - at < 2 * _BLOCK or tar[at:].strip(b"\0"):
        raise refused(name, "has bytes behind its last member, or no end")


def _sizes(header: bytes, name: str) -> tuple[int, bytes]:
    """Size and kind of a member whose header is one that every reader understands alike."""
    said = _octal(header[148:156])
    if said is None or said != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
        raise refused(name, "has a header with a wrong checksum")
    magic, kind, size = header[257:265], header[156:157], _octal(header[124:136])
    if magic not in (_USTAR, _GNU) or (magic == _GNU and header[345:].strip(b"\0")):
        raise refused(name, "has a member that is not plain ustar", "use tar --format=ustar")
    if size is None or (kind == _FOLDER and size):
        raise refused(name, "has a member whose size cannot be read")
    if kind not in (*_FILE, _FOLDER):
        raise refused(name, "has a member that is neither file nor folder: links and pax headers are not")
    if header[157:257].strip(b"\0"):
        raise refused(name, "has a link")
    return size, kind


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _raw_name(header: bytes) -> bytes:
    last = header[:100].split(b"\0", 1)[0]
    first = header[345:500].split(b"\0", 1)[0]
    return first + b"/" + last if first else last


def _member(raw: bytes, name: str) -> str:
    """The name of a member; `tar -C folder .` writes `./` before each."""
    try:
        member = raw.decode().removeprefix("./")
    except UnicodeDecodeError:
        raise refused(name, f"has a member whose name is not UTF-8: {raw!r}") from None
    parts = member.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in member or not member.isprintable():
        raise refused(name, f"has a member called {member!r}")
    return member
