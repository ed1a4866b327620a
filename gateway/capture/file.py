"""Packets of a capture file, one after the other: the only file of the gateway that names scapy.

scapy reads the files (pcap of either byte order and resolution, pcapng, either gzipped), and ends quietly at
whatever it cannot read. Quietly is wrong here: a capture that breaks off must not look like one that ends, so
its warnings and the position in the file are watched.
"""

import logging
import sys
from collections.abc import Iterator
from typing import Any

# scapy uses `cryptography` where it finds it, for protocols that we do not dissect. Its wheel carries
# OpenSSL 3 (Apache-2.0), which must not be in one program with scapy (GPL-2.0-only): it shall not be found.
sys.modules.setdefault("cryptography", None)  # type: ignore[arg-type]

from scapy.error import Scapy_Exception  # noqa: E402  after the line above
from scapy.utils import RawPcapReader  # noqa: E402

MOST_PACKET = 65_535
"Longer packets (offloading can make them) are cut by scapy's reader; what is missing shows as a gap."
MOST_RECORD = 1 << 20
"A pcap record that claims more is damage, not a packet: Wireshark's own limit is 256 KiB."
NANOSECONDS = 1_000_000_000

Packet = tuple[int, int, bytes]
"Time in nanoseconds since 1970 (0 where there is none), link type, bytes."


class NotACaptureError(Exception):
    """The file cannot be read as a capture at all."""


class _Warnings(logging.Handler):
    """Keeps the last thing scapy complained about, and shows nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class CaptureFile:
    """One file, read from front to back."""

    def __init__(self, path: str) -> None:
        """Opens it. Raises NotACaptureError, or OSError where there is no such file."""
        self._warnings = _Warnings()
        log = logging.getLogger("scapy")
        log.handlers[:] = [self._warnings]
        log.propagate = False
        try:
            self._reader: Any = RawPcapReader(path)
        except (Scapy_Exception, EOFError) as error:
            raise NotACaptureError(f"{path} is neither pcap nor pcapng") from error
        self.fault: str | None = None
        "Why reading ended before the file did; None at its proper end. Valid once `packets` is through."

    def position(self) -> int:
        """How many bytes of the file are read; 0 where that cannot be said (a pipe)."""
        file = self._reader.f
        try:
            return int(getattr(file, "fileobj", file).tell())
        except OSError:
            return 0

    def packets(self) -> Iterator[Packet]:
        """All packets. Ends at damage too: see `fault`.

        `_read_packet` is what scapy's own raw readers offer for this: iterating over one hides its errors.
        """
        classic = hasattr(self._reader, "nano")
        count = 0
        try:
            for packet in self._classic() if classic else self._next_generation():
                count += 1
                yield packet
        except (EOFError, MemoryError, ValueError, IndexError) as error:
            self.fault = str(error) or type(error).__name__
        self.fault = self.fault or self._warnings.last
        if self.fault is not None:
            self.fault = f"the file is damaged or cut off behind packet {count}: {self.fault}"

    def _classic(self) -> Iterator[Packet]:
        reader = self._reader
        read = reader._read_packet  # noqa: SLF001  see `packets`
        link, scale = reader.linktype & 0xFFFF, 1 if reader.nano else 1000
        expected = reader.f.tell() if reader.f.seekable() else None
        while True:
            try:
                data, (seconds, fraction, _, size) = read()
            except EOFError:
                break
            if size > MOST_RECORD:
                raise EOFError(f"a packet that says it has {size} bytes")
            if expected is not None:
                expected += 16 + size
            yield seconds * NANOSECONDS + fraction * scale, link, data
        if expected is not None and reader.f.tell() != expected:
            raise EOFError("the last packet is not whole")

    def _next_generation(self) -> Iterator[Packet]:
        read = self._reader._read_packet  # noqa: SLF001  see `packets`
        while True:
            try:
                data, meta = read()
            except EOFError as error:
                if error.args:
                    raise
                return
            time = 0 if meta.tshigh is None else (meta.tshigh << 32 | meta.tslow)
            yield time * NANOSECONDS // meta.tsresol, meta.linktype, data
