"""The capture of docs/guides/policy-author.md: an operator's station and a tank's PLC, for some minutes.

    python -m tests.e2e.shift docs/guides/shift.pcap

writes it anew; it is the same bytes each time. The station polls levels, set points and the pump, moves the
level set point in steps, starts and stops the pump, and once sets the pump's speed.
"""

import sys
from pathlib import Path
from struct import pack

from tests.interop.captures import packets, pcap
from tests.unit.capture.conversation import Two

MINUTES = 15
LEVELS = {3: 425, 6: 450, 9: 400, 12: 350}
"Minute -> level set point, in quanta of 0.1 %."
PUMP = {5: 0xFF00, 11: 0}
SPEED = {10: 250}
STEP_US = 1_200_000


def conversation() -> Two:
    """The station and the PLC, unit 1."""
    two = Two().handshake()
    number = 0

    def ask(request: bytes, answer: bytes) -> None:
        nonlocal number
        number += 1
        for side, pdu in enumerate((request, answer)):
            two.say(side, pack(">HHHB", number, 0, len(pdu) + 1, 1) + pdu)

    level = 400
    for minute in range(MINUTES):
        for _ in range(4):
            ask(pack(">BHH", 4, 0, 6), pack(">BB6H", 4, 12, level, 215, 0x4120, 0, 1000 + minute, 0))
            ask(pack(">BHH", 3, 0, 4), pack(">BB4H", 3, 8, level, 300, 0, 0))
            ask(pack(">BHH", 1, 0, 2), pack(">BBB", 1, 1, 1))
        level = LEVELS.get(minute, level)
        writes = ((6, 0, LEVELS), (5, 0, PUMP), (6, 1, SPEED))
        for function, address, values in writes:
            if minute in values:
                write = pack(">BHH", function, address, values[minute])
                ask(write, write)
    return two.end()


def write(path: Path) -> Path:
    """The capture."""
    return pcap(path, packets(conversation()), step_us=STEP_US)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
