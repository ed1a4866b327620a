"""What a device of the demo saw, written down by the device: nobody has to believe the gateway about it."""

import json
import sys
import time
from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024
"Past this a device stops writing down what it saw and ends: a log that lies by silence is worse than none."


class Seen:
    """A log of one JSON object a line."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8", buffering=1)
        self._bytes = 0

    def note(self, **what: object) -> None:
        """Write one thing down, with the moment."""
        self._bytes += self._file.write(json.dumps({"t": time.time(), **what}, default=str) + "\n")
        if self._bytes > MOST_BYTES:
            sys.exit("the plant saw more than it may write down")
