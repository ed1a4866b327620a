"""A request and its answer of every service, written by asyncua: what another stack says is our measure."""

import datetime
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncua.ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from gateway.wire.opcua.nodeid import NodeId
from gateway.wire.opcua.services import BY_NAME

ua: Any = asyncua.ua
"Its types of numbers are its own; ours are Python's."
HANDLE = 4711
MOMENT = datetime.datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=datetime.UTC)
TOKEN = ua.NodeId(b"the client's token, 32 bytes long", 0, ua.NodeIdType.ByteString)
UPSTREAM = NodeId(1, UUID("39121615-46f3-6d34-fecf-fcbfbacb4c14")).encode()
"The token of the session to the server: of another length."
LEVEL = ua.NodeId("Tank.Level", 2)
SETPOINT = ua.NodeId("Tank.SP", 2)
NODES = [
    ua.NodeId(85, 0),
    LEVEL,
    ua.NodeId(70_000, 3),
    ua.NodeId(UUID("09087e75-8e5e-499b-954f-f2a9603db28a"), 2, ua.NodeIdType.Guid),
    ua.NodeId(b"\x01\x02", 1, ua.NodeIdType.ByteString),
    ua.NodeId(2258, 0, ua.NodeIdType.Numeric),
]


def request(name: str, **parameters: Any) -> bytes:
    """A request as asyncua writes it."""
    kind = getattr(ua, f"{name}Request")
    made = kind()
    made.TypeId = ua.NodeId(BY_NAME[name].request, 0, ua.NodeIdType.FourByte)
    head = made.RequestHeader
    head.AuthenticationToken = TOKEN
    head.Timestamp = MOMENT
    head.RequestHandle = HANDLE
    head.AuditEntryId = "audit 7"
    head.TimeoutHint = 5000
    return _filled(made, parameters)


def answer(name: str, **parameters: Any) -> bytes:
    """An answer as asyncua writes it."""
    made = getattr(ua, f"{name}Response")()
    made.TypeId = ua.NodeId(BY_NAME[name].answer, 0, ua.NodeIdType.FourByte)
    made.ResponseHeader.Timestamp = MOMENT
    made.ResponseHeader.RequestHandle = HANDLE
    made.ResponseHeader.ServiceResult = ua.StatusCode(parameters.pop("status", 0))
    if "table" in parameters:
        made.ResponseHeader.StringTable = parameters.pop("table")
    return _filled(made, parameters)


def _filled(made: Any, parameters: dict[str, Any]) -> bytes:
    place = made.Parameters if hasattr(made, "Parameters") and made.Parameters is not None else made
    for key, value in parameters.items():
        target = place if hasattr(place, key) else made
        assert hasattr(target, key), (type(made).__name__, key)
        setattr(target, key, value)
    return bytes(struct_to_binary(made))


def decoded(name: str, body: bytes) -> Any:
    """A message (`ReadRequest`, `ReadResponse` …) as asyncua reads it; no byte may be left."""
    buffer = Buffer(body)
    made = struct_from_binary(getattr(ua, name), buffer)
    assert len(buffer) == 0, f"asyncua left {len(buffer)} bytes of {name}"
    return made


def read_value(node: Any, attribute: int = 13, index_range: str | None = None) -> Any:
    made = ua.ReadValueId()
    made.NodeId = node
    made.AttributeId = ua.AttributeIds(attribute)
    made.IndexRange = index_range
    return made


def write_value(node: Any, value: Any, attribute: int = 13, index_range: str | None = None) -> Any:
    made = ua.WriteValue()
    made.NodeId = node
    made.AttributeId = ua.AttributeIds(attribute)
    made.IndexRange = index_range
    made.Value = value
    return made


def value(of: Any, kind: Any = ua.VariantType.Double, **more: Any) -> Any:
    return ua.DataValue(ua.Variant(of, kind), **more)


def call(node: Any, method: Any, *arguments: Any) -> Any:
    return ua.CallMethodRequest(node, method, list(arguments))


def browse(node: Any) -> Any:
    made = ua.BrowseDescription()
    made.NodeId = node
    made.ReferenceTypeId = ua.NodeId(33)
    made.ResultMask = 63
    return made


def path(start: Any, *names: str, inverse: bool = False) -> Any:
    made = ua.BrowsePath()
    made.StartingNode = start
    for name in names:
        element = ua.RelativePathElement()
        element.ReferenceTypeId = ua.NodeId(33)
        element.IsInverse = inverse
        element.TargetName = ua.QualifiedName(name, 2)
        made.RelativePath.Elements.append(element)
    return made


def item(
    node: Any, sampling: float = 250.0, *, attribute: int = 13, queue: int = 1, filtered: Any = None
) -> Any:
    made = ua.MonitoredItemCreateRequest()
    made.ItemToMonitor = read_value(node, attribute)
    made.MonitoringMode = ua.MonitoringMode.Reporting
    made.RequestedParameters = parameters(sampling, queue=queue, filtered=filtered)
    return made


def parameters(sampling: float, *, queue: int = 1, filtered: Any = None) -> Any:
    made = ua.MonitoringParameters()
    made.ClientHandle = 9
    made.SamplingInterval = sampling
    made.QueueSize = queue
    made.DiscardOldest = True
    made.Filter = filtered
    return made


def modified(known: int, sampling: float = 500.0) -> Any:
    made = ua.MonitoredItemModifyRequest()
    made.MonitoredItemId = known
    made.RequestedParameters = parameters(sampling)
    return made


def created(known: int, status: int = 0) -> Any:
    made = ua.MonitoredItemCreateResult()
    made.StatusCode = ua.StatusCode(status)
    made.MonitoredItemId = known
    made.RevisedSamplingInterval = 250.0
    made.RevisedQueueSize = 1
    return made


def event_filter() -> Any:
    made = ua.EventFilter()
    clause = ua.SimpleAttributeOperand()
    clause.TypeDefinitionId = ua.NodeId(2041)
    clause.BrowsePath = [ua.QualifiedName("Severity", 0)]
    clause.AttributeId = ua.AttributeIds.Value
    made.SelectClauses = [clause]
    element = ua.ContentFilterElement()
    element.FilterOperator = ua.FilterOperator.GreaterThan
    literal = ua.LiteralOperand()
    literal.Value = ua.Variant(500, ua.VariantType.UInt16)
    element.FilterOperands = [clause, literal]
    made.WhereClause.Elements = [element]
    return made


def deadband() -> Any:
    made = ua.DataChangeFilter()
    made.DeadbandType = 1
    made.DeadbandValue = 0.5
    return made


def history(node: Any, continuation: bytes | None = None) -> Any:
    made = ua.HistoryReadValueId()
    made.NodeId = node
    made.ContinuationPoint = continuation
    return made


def raw_details(hours: int = 1) -> Any:
    made = ua.ReadRawModifiedDetails()
    made.IsReadModified = False
    made.StartTime = MOMENT
    made.EndTime = MOMENT + datetime.timedelta(hours=hours)
    made.NumValuesPerNode = 10
    return made


def browse_result(*references: Any, continuation: bytes | None = None) -> Any:
    made = ua.BrowseResult()
    made.ContinuationPoint = continuation
    made.References = list(references)
    return made


def reference(target: Any, name: str) -> Any:
    made = ua.ReferenceDescription()
    made.ReferenceTypeId = ua.NodeId(35)
    made.IsForward = True
    made.NodeId = target
    made.BrowseName = ua.QualifiedName(name, 2)
    made.DisplayName = ua.LocalizedText(name, "en")
    made.NodeClass = ua.NodeClass.Variable
    return made


def expanded(identifier: Any, namespace: int = 2, uri: str | None = None, server: int = 0) -> Any:
    return ua.ExpandedNodeId(identifier, namespace, NamespaceUri=uri, ServerIndex=server)


def statuses(*codes: int) -> list[Any]:
    return [ua.StatusCode(code) for code in codes]


def notification(*changes: tuple[int, ua.DataValue], ended: int | None = None) -> Any:
    made = ua.NotificationMessage()
    made.SequenceNumber = 12
    made.PublishTime = MOMENT
    data: list[Any] = []
    if changes:
        change = ua.DataChangeNotification()
        for handle, each in changes:
            one = ua.MonitoredItemNotification()
            one.ClientHandle, one.Value = handle, each
            change.MonitoredItems.append(one)
        data.append(change)
    if ended is not None:
        status = ua.StatusChangeNotification()
        status.Status = ua.StatusCode(ended)
        data.append(status)
    made.NotificationData = data
    return made


def acknowledgement(subscription: int, sequence: int) -> Any:
    return ua.SubscriptionAcknowledgement(subscription, sequence)


def diagnostic(symbol: int) -> Any:
    made = ua.DiagnosticInfo()
    made.SymbolicId = symbol
    return made


def samples() -> dict[str, tuple[bytes, bytes]]:
    """A request of several items where it has items, and its answer, of every service that is forwarded."""
    third = ua.StatusCode(0x80340000)
    call_result = ua.CallMethodResult()
    call_result.OutputArguments = [ua.Variant(1.5), ua.Variant(["a", None], ua.VariantType.String)]
    call_result.InputArgumentResults = statuses(0)
    history_result = ua.HistoryReadResult()
    history_result.ContinuationPoint = b"go on"
    history_data = ua.HistoryData()
    history_data.DataValues = [value(1.0, SourceTimestamp=MOMENT), value(2.0)]
    history_result.HistoryData = history_data
    target = ua.BrowsePathTarget()
    target.TargetId = expanded("Tank.SP")
    target.RemainingPathIndex = 0xFFFFFFFF
    path_result = ua.BrowsePathResult()
    path_result.Targets = [target]
    modify_result = ua.MonitoredItemModifyResult()
    transfer_result = ua.TransferResult()
    transfer_result.AvailableSequenceNumbers = [1, 2]
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "Read": (
            {"MaxAge": 0.0, "NodesToRead": [read_value(each) for each in NODES]},
            {
                "Results": [
                    value(20.5, SourceTimestamp=MOMENT, ServerTimestamp=MOMENT),
                    value("a text", ua.VariantType.String),
                    ua.DataValue(StatusCode=third),
                    value([1, 2, 3], ua.VariantType.Int32),
                    value([["x", "y"], ["z", None]], ua.VariantType.String),
                    value(True, ua.VariantType.Boolean, SourcePicoseconds=7, SourceTimestamp=MOMENT),
                ]
            },
        ),
        "Write": (
            {
                "NodesToWrite": [
                    write_value(SETPOINT, value(72.5)),
                    write_value(LEVEL, value("x", ua.VariantType.String), index_range="1:2"),
                ]
            },
            {"Results": statuses(0, 0x80340000)},
        ),
        "Call": (
            {
                "MethodsToCall": [
                    call(LEVEL, ua.NodeId("Start", 2), ua.Variant(1.5), ua.Variant("now")),
                    call(LEVEL, ua.NodeId("Stop", 2)),
                ]
            },
            {"Results": [call_result, ua.CallMethodResult()]},
        ),
        "HistoryRead": (
            {"HistoryReadDetails": raw_details(), "NodesToRead": [history(LEVEL), history(SETPOINT)]},
            {"Results": [history_result, ua.HistoryReadResult()]},
        ),
        "Browse": (
            {"NodesToBrowse": [browse(NODES[0]), browse(LEVEL)], "RequestedMaxReferencesPerNode": 10},
            {
                "Results": [
                    browse_result(
                        reference(expanded("Tank.Level"), "Level"),
                        reference(expanded(12, uri="urn:other"), "Other"),
                        reference(expanded(13, server=1), "Far"),
                        continuation=b"more of 85",
                    ),
                    browse_result(),
                ]
            },
        ),
        "BrowseNext": (
            {"ContinuationPoints": [b"more of 85", b"foreign"]},
            {"Results": [browse_result(reference(expanded("Tank.SP"), "SP")), browse_result()]},
        ),
        "TranslateBrowsePathsToNodeIds": (
            {"BrowsePaths": [path(NODES[0], "Plant", "Tank"), path(LEVEL, "Range")]},
            {"Results": [path_result, ua.BrowsePathResult()]},
        ),
        "RegisterNodes": ({"NodesToRegister": NODES}, {"RegisteredNodeIds": NODES}),
        "UnregisterNodes": ({"NodesToUnregister": NODES}, {}),
        "CreateSubscription": (
            {"RequestedPublishingInterval": 500.0, "RequestedLifetimeCount": 30},
            {"SubscriptionId": 5, "RevisedPublishingInterval": 500.0},
        ),
        "ModifySubscription": (
            {"SubscriptionId": 5, "RequestedPublishingInterval": 1000.0},
            {"RevisedPublishingInterval": 1000.0},
        ),
        "SetPublishingMode": ({"SubscriptionIds": [5, 6]}, {"Results": statuses(0, 0)}),
        "DeleteSubscriptions": ({"SubscriptionIds": [5, 6]}, {"Results": statuses(0, 0)}),
        "TransferSubscriptions": (
            {"SubscriptionIds": [5, 6], "SendInitialValues": True},
            {"Results": [transfer_result, ua.TransferResult()]},
        ),
        "CreateMonitoredItems": (
            {
                "SubscriptionId": 5,
                "ItemsToCreate": [
                    item(LEVEL, filtered=deadband()),
                    item(SETPOINT, -1.0),
                    item(ua.NodeId(2253), 0.0, attribute=12, filtered=event_filter()),
                ],
            },
            {"Results": [created(70), created(71), created(72)]},
        ),
        "ModifyMonitoredItems": (
            {"SubscriptionId": 5, "ItemsToModify": [modified(70), modified(71)]},
            {"Results": [modify_result, modify_result]},
        ),
        "SetMonitoringMode": (
            {"SubscriptionId": 5, "MonitoredItemIds": [70, 71]},
            {"Results": statuses(0, 0)},
        ),
        "SetTriggering": (
            {"SubscriptionId": 5, "TriggeringItemId": 70, "LinksToAdd": [71], "LinksToRemove": [72]},
            {"AddResults": statuses(0), "RemoveResults": statuses(0)},
        ),
        "DeleteMonitoredItems": (
            {"SubscriptionId": 5, "MonitoredItemIds": [70, 71]},
            {"Results": statuses(0, 0)},
        ),
        "Publish": (
            {"SubscriptionAcknowledgements": [acknowledgement(5, 11), acknowledgement(6, 3)]},
            {
                "SubscriptionId": 5,
                "AvailableSequenceNumbers": [12],
                "NotificationMessage": notification((9, value(20.5, SourceTimestamp=MOMENT))),
                "Results": statuses(0, 0),
            },
        ),
        "Republish": (
            {"SubscriptionId": 5, "RetransmitSequenceNumber": 11},
            {"NotificationMessage": notification((9, value(20.5)))},
        ),
    }
    return {name: (request(name, **asked), answer(name, **said)) for name, (asked, said) in found.items()}


SAMPLES: dict[str, tuple[bytes, bytes]] = samples()
NAMES: Sequence[str] = tuple(SAMPLES)
