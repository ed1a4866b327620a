"""One line of the story: a message, or why there is none."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from gateway.inspect.opcua.findings import OpcuaFinding
from gateway.model.operation import Operation
from gateway.wire.opcua.request import Improper, Request, Unsupported
from gateway.wire.opcua.services import KINDS

Asked = Request | Unsupported | Improper


class Line(Struct, gc=False):
    """One line."""

    stream: int
    frame: int
    time: int
    request: bool
    "Which direction."
    kind: str = ""
    "`HEL`, `ACK`, `ERR`, `OPN`, `MSG`, `CLO`, `RHE`; empty where no message is told of."
    chunks: int = 1
    size: int = 0
    "Bytes of all its chunks."
    largest: int = 0
    "Bytes of its largest chunk."
    channel: int | None = None
    request_id: int | None = None
    encrypted: bool = False
    service: str | None = None
    "Of an answer that of its request."
    asked: Asked | None = None
    "What a request was read as; for an answer, its request."
    operations: Sequence[Operation] = ()
    status: int | None = None
    "Service result, or what an error says."
    statuses: tuple[int, ...] = ()
    "Of each item of an answer."
    asked_frame: int | None = None
    took_ns: int = 0
    findings: tuple[OpcuaFinding, ...] = ()
    why: str = ""
    "What is malformed, in words."
    shown: tuple[Any, ...] = ()
    "Certificates (`around.Shown`)."
    details: dict[str, Any] = {}
    "What else it says, as it stands in the line for programs."
    fatal: bool = False
    "Nothing more of this connection is read."
    tls: bool = False
    missing: int = 0
    odd: tuple[str, ...] = ()

    @property
    def function(self) -> str:
        """The kind of its operations, or the name of what was asked."""
        return called(self.service)


def called(service: str | None) -> str:
    """`opcua.read`; the name where the gateway knows no such service."""
    return "" if service is None else KINDS.get(service, f"opcua.{service}")
