"""An event as a message of syslog (RFC 5424), framed by counting octets (RFC 5425 §4.3).

    <110>1 2026-11-23T08:00:00.000000Z gw-1 dmz-gateway - denial [dmz@32473 uid="…"] BOM {"class_uid":6003,…

Facility 13 is log audit. The message is the OCSF event as JSON in UTF-8. A message longer than the receiver
takes loses details of the event, never its end: it stays whole JSON, and the structured data says so
(`truncated`). 32473 is the enterprise number kept for documentation (RFC 5612): this product has none.
"""

from gateway.export.fitting import fit
from gateway.export.ocsf import Event, rfc3339

FACILITY = 13
SEVERITIES = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1}
"By severity_id of OCSF: informational, notice, warning, error, critical, alert (RFC 5424 table 2)."
APP = "dmz-gateway"
ELEMENT = "dmz@32473"
BOM = b"\xef\xbb\xbf"
ROOM_TO_TELL = len(' truncated="1" size="9999999999"')
MOST_HOST = 255
MOST_KIND = 32
"Lengths of HOSTNAME and MSGID (§6)."
ESCAPED = str.maketrans({**dict.fromkeys((*range(32), 127), " "), '"': '\\"', "\\": "\\\\", "]": "\\]"})
"§6.3.3; control characters, which receivers treat differently, become spaces."


def message(event: Event, most_bytes: int) -> bytes:
    """One message of at most so many bytes."""
    head = _head(event, "")
    fitted = fit(event, most_bytes - len(head) - len(BOM) - ROOM_TO_TELL)
    if fitted.size > len(fitted.data):
        head = _head(event, str(fitted.size))
    return head + BOM + fitted.data


def framed(data: bytes) -> bytes:
    """MSG-LEN SP SYSLOG-MSG."""
    return b"%d %s" % (len(data), data)


def _head(event: Event, cut: str) -> bytes:
    """Everything before the message; `cut` is the size of the event where it was longer."""
    level = FACILITY * 8 + SEVERITIES.get(event.severity, 6)
    host, kind = _name(event.gateway, MOST_HOST), _name(event.kind, MOST_KIND)
    params = [
        ("uid", event.uid),
        ("index", str(event.index)),
        ("class", str(event.body["class_uid"])),
        ("leaf", event.leaf),
    ]
    if cut:
        params += [("truncated", "1"), ("size", cut)]
    element = " ".join((ELEMENT, *(f'{name}="{value(text)}"' for name, text in params)))
    quality = f'[timeQuality tzKnown="1" isSynced="{int(event.trusted)}"]'
    stamp = rfc3339(event.wall_ns)
    return f"<{level}>1 {stamp} {host} {APP} - {kind} {quality}[{element}] ".encode()


def value(text: str) -> str:
    """A text as PARAM-VALUE."""
    return text.translate(ESCAPED)


def _name(text: str, most: int) -> str:
    """PRINTUSASCII, or the nil value."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:most] or "-"
