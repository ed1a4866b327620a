"""What the gateway would break between a client and a device that talk today, before any policy.

Three things: requests that it refuses whatever policy says, connections that it cuts, and answers that it
does not hand on because they are none. Where a quirk of the configuration would tolerate it, the quirk is
named: `assets[].quirks` for a device.
"""

from collections.abc import Iterator

from msgspec import Struct

from gateway.inspect.dialogue import Heard
from gateway.inspect.named import Who
from gateway.model.asset import Asset, Quirk
from gateway.model.decision import Why
from gateway.wire.modbus.checks import EXCEPTIONS
from gateway.wire.modbus.findings import FINDINGS, Finding
from gateway.wire.modbus.frames import Illegal, Unsupported, WrongAnswer
from gateway.wire.modbus.refusal import CODES
from gateway.wire.modbus.session import Conversation

STRANGE = (Finding.UNSOLICITED, Finding.UNIT_MISMATCH, Finding.FUNCTION_MISMATCH)
"Answers that settle nothing; they are dropped."


class Break(Struct, frozen=True):
    """One way in which something that works today would not."""

    what: str
    "A name: a finding, `never_forwarded`, `unmapped_unit`, `role_absent`, `nobody`, `slow`."
    then: str
    "What the client gets: `exception 01`, `closed`, or `no answer`, which becomes exception 0B."
    detail: str
    quirk: Quirk | None = None
    "What would tolerate it."


def breaks(
    heard: Heard, waiting: Conversation[int], *, mapped: bool, timeout_ms: int | None
) -> Iterator[Break]:
    """What the gateway would break of this.

    `waiting` holds the requests without answer so far; `mapped` is whether the unit is an asset;
    `timeout_ms` is how long its device may take, null for the default.
    """
    if heard.fatal is not None:
        yield Break(heard.fatal, "closed", FINDINGS[heard.fatal].means)
    elif heard.adu is None:
        return
    elif heard.request:
        yield from _request(heard, mapped=mapped)
    else:
        yield from _answer(heard, waiting, timeout_ms)


def admission(who: Who | None) -> Break | None:
    """What keeps a client out before its requests are read: no identity, or none with a role.

    `who` is what is assumed of it; null where nothing is.
    """
    if who is None:
        return Break("nobody", "no connection", "--as names no certificate for it, and nobody is anonymous")
    if not who[1]:
        return Break(
            "role_absent", _exception(Why.NO_ROLE), "its certificate carries no role (--as SUBJECT:ROLE)"
        )
    return None


def _request(heard: Heard, *, mapped: bool) -> Iterator[Break]:
    asked = heard.asked
    if not mapped:
        assert heard.adu is not None  # noqa: S101  a request has one
        yield Break("unmapped_unit", _exception(Why.UNMAPPED_UNIT), f"unit {heard.adu.unit} is no asset")
    elif isinstance(asked, Illegal):
        yield Break(asked.finding, _exception(asked.why), FINDINGS[asked.finding].means)
    elif isinstance(asked, Unsupported):
        what = asked.finding or "never_forwarded"
        yield Break(
            what, _exception(Why.UNKNOWN_FUNCTION), f"{asked.name} (FC {asked.fc}) is never forwarded"
        )


def _answer(heard: Heard, waiting: Conversation[int], timeout_ms: int | None) -> Iterator[Break]:
    assert heard.adu is not None  # noqa: S101  an answer has one
    lost = _exception(Why.NO_ANSWER)
    padded = Finding.EXCEPTION_LENGTH in heard.findings and len(heard.adu.pdu) == 3
    strange = next((finding for finding in STRANGE if finding in heard.findings), None)
    if strange is not None:
        key = heard.adu.unit, heard.adu.pdu[0] & 0x7F
        late = any(
            (each.unit, each.fc & 0x7F) == key and each.tid != heard.adu.tid for each in waiting.waiting
        )
        quirk = Quirk.ID_NOT_ECHOED if late and strange is Finding.UNSOLICITED else None
        yield Break(strange, "dropped", FINDINGS[strange].means, quirk)
    elif isinstance(heard.answer, WrongAnswer):
        quirk = Quirk.EXCEPTION_PADDED if padded else None
        yield Break(heard.answer.finding, lost, FINDINGS[heard.answer.finding].means, quirk)
    most = timeout_ms or _DEFAULT_TIMEOUT_MS
    if heard.took_ns > most * 1_000_000:
        detail = f"the device took {heard.took_ns / 1e6:.0f} ms; timeout_ms is {most}"
        yield Break("slow", lost, detail)


def _exception(why: Why) -> str:
    code = CODES[why]
    return f"exception {code:02X} ({EXCEPTIONS[code]})"


_DEFAULT_TIMEOUT_MS = Asset(name="", host="", port=0).timeout_ms
