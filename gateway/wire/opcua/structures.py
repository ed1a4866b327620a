"""The structures inside service messages (OPC 10000-4), as scans made of the built-in types.

Bodies of ExtensionObjects are scanned where their type carries meaning for us, and opaque otherwise:
filters of monitored items, details of history reads, operands of event filters, and user tokens.
"""

from gateway.wire.opcua.binary import (
    I32,
    Scan,
    Wrong,
    array,
    fixed,
    known,
    localized_text,
    name,
    node_id,
    qualified_name,
    sequence,
    text,
    texts,
    variant,
)
from gateway.wire.opcua.binary import expanded_node_id as expanded

PLAIN = b"\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff"
"No index range, no data encoding: what almost every ReadValueId ends with."

_read_rest = sequence(fixed(4), name, qualified_name)


def read_value_id(data: bytes, at: int) -> int:
    """ReadValueId (§7.29): node, attribute, index range, data encoding."""
    at = node_id(data, at)
    if data[at + 4 : at + 14] == PLAIN:
        return at + 14
    return _read_rest(data, at)


def read_value_ids(data: bytes, at: int, number: int) -> list[int]:
    """Where each of so many ReadValueIds begins, and where the last ends: the hot path, so all in one."""
    borders = [at]
    add = borders.append
    for _ in range(number):
        kind = data[at]
        if kind == 1:
            at += 4
        elif kind == 3:
            (size,) = I32(data, at + 3)
            if not -1 <= size <= 4096:
                raise Wrong("a name longer than names are")
            at += 7 + size if size > 0 else 7
        elif kind == 2:
            at += 7
        else:
            at = node_id(data, at)
        at = at + 14 if data[at + 4 : at + 14] == PLAIN else _read_rest(data, at)
        add(at)
    return borders


aggregate_configuration = fixed(5)
simple_attribute = sequence(node_id, array(qualified_name, 6), fixed(4), name)
relative_path = array(sequence(node_id, fixed(2), qualified_name), 10)
OPERANDS: dict[int, Scan] = {
    594: fixed(4),
    597: variant,
    600: sequence(node_id, text, relative_path, fixed(4), name),
    603: simple_attribute,
}
"ElementOperand, LiteralOperand, AttributeOperand, SimpleAttributeOperand (§7.7.4)."
content_filter = array(sequence(fixed(4), array(known(OPERANDS), 3)), 8)
event_filter = sequence(array(simple_attribute, 14), content_filter)
DATA_CHANGE_FILTER, EVENT_FILTER, AGGREGATE_FILTER = 724, 727, 730
FILTERS: dict[int, Scan] = {
    DATA_CHANGE_FILTER: fixed(16),
    EVENT_FILTER: event_filter,
    AGGREGATE_FILTER: sequence(fixed(8), node_id, fixed(8), aggregate_configuration),
}
"Filters of monitored items (§7.22)."
monitoring_parameters = sequence(fixed(12), known(FILTERS), fixed(5))
"Client handle, sampling interval, filter, queue size, discard oldest (§7.21)."

READ_EVENTS, READ_RAW, READ_PROCESSED, READ_AT_TIMES = 646, 649, 652, 655
DETAILS: dict[int, Scan] = {
    READ_EVENTS: sequence(fixed(20), event_filter),
    READ_RAW: fixed(22),
    READ_PROCESSED: sequence(fixed(24), array(node_id, 2), aggregate_configuration),
    READ_AT_TIMES: sequence(array(fixed(8), 8), fixed(1)),
}
"What a HistoryRead wants of each node (OPC 10000-11 §6.5)."

application = sequence(text, text, localized_text, fixed(4), text, text, texts)
"ApplicationDescription (§7.2)."
signature = sequence(text, text)
user_token_policy = sequence(text, fixed(4), text, text, text)
endpoint = sequence(text, application, text, fixed(4), text, array(user_token_policy, 20), text, fixed(1))
"EndpointDescription (§7.14)."
signed_certificate = sequence(text, text)
USER_TOKENS: dict[int, Scan] = {
    321: text,
    324: sequence(text, text, text, text),
    327: sequence(text, text),
    940: sequence(text, text, text),
}
"Anonymous, UserName, X509 and Issued (§7.40)."

reference = sequence(node_id, fixed(1), expanded, qualified_name, localized_text, fixed(4), expanded)
"ReferenceDescription (§7.30)."
MOST_REFERENCES = 100_000
"References in one browse result: a folder may have many tags, and a client may want them all at once."
references = array(reference, 18, MOST_REFERENCES)
