"""Wire cases of Modbus: a file for each row of the table, told once for decoder, encoder, meaning and beyond.

A vector of direction `request` says what becomes of it: `operations` (in the words of policy),
`illegal = [why, finding]`, or `unsupported = [name, finding]` where it is never forwarded (no finding: "").
One of direction `answer` says which request it answers (`to`) and what becomes of it: `data`, `exception` or
`wrong`. Names begin with `good`, `malformed` or `limit`. In `hex`, spaces part the fields that the file's
head names, and `00*246` is that byte so many times.
"""

import tomllib
from pathlib import Path
from typing import Any

from msgspec import Struct

FOLDER = Path(__file__).parent


class Vector(Struct, frozen=True):
    """One case."""

    name: str
    direction: str
    pdu: bytes
    to: bytes
    "The request that an answer answers; empty for requests."
    expected: dict[str, Any]

    @property
    def sort(self) -> str:
        """good, malformed or limit."""
        return self.name.partition(":")[0]

    @property
    def fc(self) -> int:
        """Which row of the table it is about."""
        return (self.to or self.pdu)[0]

    def __str__(self) -> str:
        return f"fc{self.fc:02d}-{self.direction}-{self.name}"


def octets(text: str) -> bytes:
    """The bytes of a `hex` field."""
    return b"".join(
        bytes.fromhex(byte) * int(times or 1)
        for byte, _, times in (field.partition("*") for field in text.split())
    )


def vectors() -> list[Vector]:
    """All cases, by file."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["vector"]:
            name, direction = entry.pop("name"), entry.pop("direction")
            pdu, to = octets(entry.pop("hex")), octets(entry.pop("to", ""))
            if "data" in entry:
                entry["data"] = octets(entry["data"])
            found.append(Vector(name, direction, pdu, to, entry))
    return found
