"""Inputs that are kept: a file for each target, one input in hexadecimal on each line, the shortest first.

They began as the vectors of the wire, certificates of the test PKI and what asyncua says; fuzzing found
the rest.
"""

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
MOST_BYTES = 400_000
"Of all files together."


def kept(target: str) -> list[bytes]:
    """The inputs of one target."""
    path = FOLDER / f"{target}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these and no others."""
    each = sorted(set(inputs), key=lambda data: (len(data), data))
    (FOLDER / f"{target}.hex").write_text("".join(f"{data.hex()}\n" for data in each))
