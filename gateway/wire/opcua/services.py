"""THE TABLE: one row for each service that the gateway knows. A missing row is a refusal.

Rows are the only place where a service is described: request reader, answer reader, refusals, meaning, tests
and the page docs/protocols/opcua.md read them. A message is header, `before`, an array of items, `after`; one
without items is all `before`. An answer has as many results as its request has items, in the same order, then
DiagnosticInfos; that is what parts a request and its answer (facts: splice by slices, never by objects).

Ids are those of the binary encoding (OPC 10000-6 Annex A.3). A service without a row is read as far as its
number and refused; one with `Treatment.REFUSED` is named as well, and policy is not asked (invariant 2).
"""

from collections.abc import Callable
from enum import StrEnum
from re import sub

from msgspec import Struct

from gateway.model.operation import Action
from gateway.wire.opcua.binary import (
    Scan,
    array,
    data_value,
    diagnostics,
    extension_object,
    fixed,
    known,
    name,
    node_id,
    nothing,
    sequence,
    text,
    texts,
    variant,
)
from gateway.wire.opcua.binary import expanded_node_id as expanded
from gateway.wire.opcua.structures import (
    DETAILS,
    USER_TOKENS,
    application,
    endpoint,
    monitoring_parameters,
    read_value_id,
    read_value_ids,
    references,
    relative_path,
    signature,
    signed_certificate,
)

FAULT = 397
"ServiceFault: the answer to anything that was refused as a whole."


class Treatment(StrEnum):
    """What becomes of a request."""

    FORWARDED = "forwarded"
    "By grant, through the passage."
    ANSWERED = "answered here"
    "Decided like the others, then answered by the gateway: RegisterNodes, whose answer may rename nodes."
    LOCAL = "local"
    "About session or endpoints: the gateway's own, never forwarded as it came."
    REFUSED = "refused"
    "Named, and never forwarded."


class Items(Struct, frozen=True):
    """The array that a request can be parted by, and its counterpart in the answer."""

    scan: Scan
    least: int
    "Bytes of the shortest item."
    denied: int = 0
    "Zero bytes behind the status of a result that we insert; see `denied_tail`."
    denied_tail: bytes | None = None
    "What stands behind that status, where it is not all zero."
    result: Scan = fixed(4)
    many: Callable[[bytes, int, int], list[int]] | None = None
    "A scanner of many items at once, for the hot path."
    parted: bool = True
    "Whether each item is an operation of its own, and can be left out."
    needed: bool = True
    "Whether a request without items is refused (Bad_NothingToDo)."
    values: bool = False
    "Whether results are DataValues: their status stands inside."
    named: str = "item"
    "What an item is, for people."

    @property
    def tail(self) -> bytes:
        """What stands behind the status in the result of a denied item."""
        return bytes(self.denied) if self.denied_tail is None else self.denied_tail


class Service(Struct, frozen=True, eq=False):
    """One row."""

    name: str
    "As the standard writes it: `Read`."
    request: int
    answer: int
    treatment: Treatment = Treatment.FORWARDED
    action: Action | None = None
    before: Scan = nothing
    items: Items | None = None
    after: Scan = nothing
    answer_before: Scan = nothing
    "What stands between ResponseHeader and results; the whole answer of a service without items."
    layout: str = ""
    "The request behind its header, for people."
    note: str = ""
    "What is special, for people."

    @property
    def kind(self) -> str:
        """The kind of its operations: `opcua.create_monitored_items`."""
        return KINDS[self.name]

    @property
    def local(self) -> bool:
        """Whether the gateway answers by itself, without a decision about nodes."""
        return self.treatment is Treatment.LOCAL

    @property
    def publish(self) -> bool:
        """Whether it waits for something to happen, and is counted apart."""
        return self.name == "Publish"


U4 = fixed(4)
_diagnosed = sequence(array(U4, 4), diagnostics)
_ACKNOWLEDGEMENT = Items(fixed(8), 8, parted=False, needed=False, named="acknowledgement")
_SUBSCRIPTION = Items(U4, 4, named="subscription id")
_NOTIFICATION = sequence(fixed(12), array(extension_object, 3))
_PUBLISHED = sequence(U4, array(U4, 4), fixed(1), _NOTIFICATION)
_HISTORY_ITEM = sequence(node_id, name, fixed(2), name, text)
_CALL_RESULT = sequence(U4, array(U4, 4), diagnostics, array(variant, 1))
_BROWSE_RESULT = sequence(U4, text, references)
_NO_BROWSE = b"\xff\xff\xff\xff" + bytes(4)
_NO_HISTORY = b"\xff\xff\xff\xff" + bytes(3)

_READ_ITEM = Items(
    read_value_id,
    16,
    result=data_value,
    many=read_value_ids,
    values=True,
    named="node, attribute, index range",
)

_ROWS = (
    Service(
        "FindServers",
        422,
        425,
        Treatment.LOCAL,
        before=sequence(text, texts, texts),
        answer_before=array(application, 29),
        layout="endpoint URL, locales, server URIs",
    ),
    Service(
        "GetEndpoints",
        428,
        431,
        Treatment.LOCAL,
        before=sequence(text, texts, texts),
        answer_before=array(endpoint, 50),
        layout="endpoint URL, locales, profiles",
    ),
    Service(
        "OpenSecureChannel",
        446,
        449,
        Treatment.LOCAL,
        before=sequence(fixed(12), text, U4),
        answer_before=sequence(fixed(4 + 20), text),
        layout="version, issue or renew, mode, nonce, lifetime",
        note="only in an OPN chunk",
    ),
    Service(
        "CloseSecureChannel",
        452,
        455,
        Treatment.LOCAL,
        note="only in a CLO chunk; never answered",
    ),
    Service(
        "CreateSession",
        461,
        464,
        Treatment.LOCAL,
        before=sequence(application, text, text, text, text, text, fixed(12)),
        answer_before=sequence(
            node_id,
            node_id,
            fixed(8),
            text,
            text,
            array(endpoint, 50),
            array(signed_certificate, 8),
            signature,
            U4,
        ),
        layout="application, server URI, endpoint URL, name, nonce, certificate, time-out, largest answer",
    ),
    Service(
        "ActivateSession",
        467,
        470,
        Treatment.LOCAL,
        before=sequence(signature, array(signed_certificate, 8), texts, known(USER_TOKENS), signature),
        answer_before=sequence(text, _diagnosed),
        layout="signature, software certificates, locales, user token, its signature",
    ),
    Service(
        "CloseSession",
        473,
        476,
        Treatment.LOCAL,
        before=fixed(1),
        layout="delete subscriptions",
        note="the session to the server is closed with it",
    ),
    Service(
        "Read",
        631,
        634,
        action=Action.READ,
        before=fixed(12),
        items=_READ_ITEM,
        layout="max age, times to return, nodes",
    ),
    Service(
        "Write",
        673,
        676,
        action=Action.WRITE,
        items=Items(
            sequence(node_id, fixed(4), name, data_value), 11, named="node, attribute, index range, value"
        ),
        layout="nodes",
    ),
    Service(
        "Call",
        712,
        715,
        action=Action.CALL,
        items=Items(
            sequence(node_id, node_id, array(variant, 1)),
            8,
            denied=12,
            result=_CALL_RESULT,
            named="object, method, arguments",
        ),
        layout="methods",
        note="methods of namespace 0 that name a subscription: only one's own",
    ),
    Service(
        "HistoryRead",
        664,
        667,
        action=Action.READ,
        before=sequence(known(DETAILS), fixed(5)),
        items=Items(
            _HISTORY_ITEM,
            16,
            denied_tail=_NO_HISTORY,
            result=sequence(U4, text, extension_object),
            named="node, index range, continuation point",
        ),
        layout="details, times to return, release continuation points, nodes",
        note="details of unknown type cannot be judged",
    ),
    Service(
        "Browse",
        527,
        530,
        action=Action.BROWSE,
        before=sequence(node_id, fixed(16)),
        items=Items(
            sequence(node_id, fixed(4), node_id, fixed(9)),
            17,
            denied_tail=_NO_BROWSE,
            result=_BROWSE_RESULT,
            named="node, direction, reference type, masks",
        ),
        layout="view, most references, nodes",
    ),
    Service(
        "BrowseNext",
        533,
        536,
        action=Action.BROWSE,
        before=fixed(1),
        items=Items(text, 4, denied_tail=_NO_BROWSE, result=_BROWSE_RESULT, named="continuation point"),
        layout="release, continuation points",
        note="only one's own; decided by the node that was browsed",
    ),
    Service(
        "TranslateBrowsePathsToNodeIds",
        554,
        557,
        action=Action.BROWSE,
        items=Items(
            sequence(node_id, relative_path),
            6,
            denied=4,
            result=sequence(U4, array(sequence(expanded, U4), 6)),
            named="start node, path",
        ),
        layout="paths",
    ),
    Service(
        "RegisterNodes",
        560,
        563,
        Treatment.ANSWERED,
        Action.BROWSE,
        items=Items(node_id, 2, parted=False, named="node"),
        layout="nodes",
        note="answered with the same ids, so that no alias passes a rule about a node; all or none",
    ),
    Service(
        "UnregisterNodes",
        566,
        569,
        Treatment.ANSWERED,
        Action.BROWSE,
        items=Items(node_id, 2, parted=False, named="node"),
        layout="nodes",
        note="all or none",
    ),
    Service(
        "CreateSubscription",
        787,
        790,
        action=Action.SUBSCRIBE,
        before=fixed(22),
        answer_before=fixed(20),
        layout="publishing interval, lifetime, keep-alive, most notifications, enabled, priority",
    ),
    Service(
        "ModifySubscription",
        793,
        796,
        action=Action.SUBSCRIBE,
        before=fixed(25),
        answer_before=fixed(16),
        layout="subscription id, publishing interval, lifetime, keep-alive, most notifications, priority",
        note="only one's own",
    ),
    Service(
        "SetPublishingMode",
        799,
        802,
        action=Action.SUBSCRIBE,
        before=fixed(1),
        items=_SUBSCRIPTION,
        layout="enabled, subscription ids",
        note="only one's own",
    ),
    Service(
        "DeleteSubscriptions",
        847,
        850,
        action=Action.SUBSCRIBE,
        items=_SUBSCRIPTION,
        layout="subscription ids",
        note="only one's own",
    ),
    Service(
        "TransferSubscriptions",
        841,
        844,
        action=Action.SUBSCRIBE,
        items=Items(U4, 4, denied=4, result=sequence(U4, array(U4, 4)), named="subscription id"),
        after=fixed(1),
        layout="subscription ids, send initial values",
        note="only from sessions of the same identity and user",
    ),
    Service(
        "CreateMonitoredItems",
        751,
        754,
        action=Action.SUBSCRIBE,
        before=fixed(8),
        items=Items(
            sequence(read_value_id, U4, monitoring_parameters),
            40,
            denied=19,
            result=sequence(fixed(20), extension_object),
            named="node, attribute, index range, mode, sampling interval, filter, queue",
        ),
        layout="subscription id, times to return, items",
        note="only in one's own subscription",
    ),
    Service(
        "ModifyMonitoredItems",
        763,
        766,
        action=Action.SUBSCRIBE,
        before=fixed(8),
        items=Items(
            sequence(U4, monitoring_parameters),
            24,
            denied=15,
            result=sequence(fixed(16), extension_object),
            named="item id, sampling interval, filter, queue",
        ),
        layout="subscription id, times to return, items",
        note="only one's own; decided by the node again",
    ),
    Service(
        "SetMonitoringMode",
        769,
        772,
        action=Action.SUBSCRIBE,
        before=fixed(8),
        items=Items(U4, 4, named="item id"),
        layout="subscription id, mode, item ids",
        note="only one's own",
    ),
    Service(
        "SetTriggering",
        775,
        778,
        action=Action.SUBSCRIBE,
        before=sequence(fixed(8), array(U4, 4), array(U4, 4)),
        answer_before=sequence(_diagnosed, _diagnosed),
        layout="subscription id, triggering item, links to add, links to remove",
        note="only one's own, on both ends of a link; all or none",
    ),
    Service(
        "DeleteMonitoredItems",
        781,
        784,
        action=Action.SUBSCRIBE,
        before=U4,
        items=Items(U4, 4, named="item id"),
        layout="subscription id, item ids",
        note="only one's own",
    ),
    Service(
        "Publish",
        826,
        829,
        action=Action.SUBSCRIBE,
        items=_ACKNOWLEDGEMENT,
        answer_before=_PUBLISHED,
        layout="acknowledgements",
        note="one operation; acknowledgements of others' subscriptions are left out",
    ),
    Service(
        "Republish",
        832,
        835,
        action=Action.SUBSCRIBE,
        before=fixed(8),
        answer_before=_NOTIFICATION,
        layout="subscription id, sequence number",
        note="only one's own",
    ),
    *(
        Service(called, request, answer, Treatment.REFUSED)
        for called, request, answer in (
            ("HistoryUpdate", 700, 703),
            ("QueryFirst", 615, 618),
            ("QueryNext", 621, 624),
            ("AddNodes", 488, 491),
            ("AddReferences", 494, 497),
            ("DeleteNodes", 500, 503),
            ("DeleteReferences", 506, 509),
            ("Cancel", 479, 482),
            ("RegisterServer", 437, 440),
            ("FindServersOnNetwork", 12208, 12209),
            ("RegisterServer2", 12211, 12212),
            ("SessionlessInvoke", 15903, 21001),
        )
    ),
)

KINDS = {row.name: "opcua." + sub("(?<=[a-z])(?=[A-Z0-9])", "_", row.name).lower() for row in _ROWS}
SERVICES: dict[int, Service] = {row.request: row for row in _ROWS}
"By the number of the request."
BY_NAME: dict[str, Service] = {row.name: row for row in _ROWS}
BY_ANSWER: dict[int, Service] = {row.answer: row for row in _ROWS}
