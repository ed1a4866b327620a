"""Who may name an id: the tables of a session, filled from answers, checked before anything is forwarded."""

from struct import pack
from typing import Any

import pytest

from gateway.model.asset import Asset, Speaks
from gateway.model.moment import Now
from gateway.model.operation import Operation
from gateway.wire.opcua.answer import ServiceAnswer, read_answer
from gateway.wire.opcua.meaning import Context, NodePlace
from gateway.wire.opcua.request import Outbound, Request, read_request
from gateway.wire.opcua.session import Bounds, Ownership
from gateway.wire.opcua.status import Status
from tests.unit.wire.opcua.samples import (
    LEVEL,
    SAMPLES,
    SETPOINT,
    UPSTREAM,
    acknowledgement,
    answer,
    browse,
    browse_result,
    call,
    created,
    event_filter,
    history,
    item,
    modified,
    notification,
    raw_details,
    request,
    statuses,
    ua,
)

PLACE = NodePlace(Asset(name="a", host="192.0.2.1", port=4840, protocol=Speaks.OPCUA), [])
NAMESPACES = ("http://opcfoundation.org/UA/", "urn:one", "urn:two", "urn:three")
SUBSCRIPTION, ITEM, POINT = (
    int(Status.SUBSCRIPTION_ID_INVALID),
    int(Status.MONITORED_ITEM_ID_INVALID),
    int(Status.CONTINUATION_POINT_INVALID),
)
SERVER, GET_MONITORED_ITEMS = ua.NodeId(2253), ua.NodeId(11492)


class Nothing:
    def last(self, tag: str) -> tuple[int | None, int] | None:
        return None


def asked(body: bytes) -> Request:
    found = read_request(body)
    assert isinstance(found, Request), found
    return found


def wants(name: str, **parameters: Any) -> Request:
    return asked(request(name, **parameters))


def done(session: Ownership, body: bytes, said: bytes) -> tuple[Operation, ...]:
    """A request passes as far as the session allows, and is answered."""
    found = asked(body)
    refused = session.check(found)
    assert isinstance(refused, dict), refused
    outbound = Outbound(found, UPSTREAM, refused=refused)
    operations = PLACE.operations(found, Context(NAMESPACES, session=session), Nothing(), Now(0, 0, True, 0))
    came = read_answer(outbound, said)
    assert isinstance(came, ServiceAnswer), came
    sent = tuple([operations[at] for at in outbound.kept]) if outbound.parts else operations
    session.note(came, sent)
    return sent


def session(bounds: Bounds | None = None, *, items: bool = True) -> Ownership:
    """One with subscription 5, and items 70 to 72 in it."""
    made = Ownership(bounds or Bounds())
    done(made, *SAMPLES["CreateSubscription"])
    if items:
        done(made, *SAMPLES["CreateMonitoredItems"])
    return made


def test_what_answers_make_is_ones_own() -> None:
    mine = session()
    assert list(mine.subscriptions) == [5]
    assert sorted(mine.subscriptions[5].items) == [70, 71, 72]
    assert mine.items == 3
    live = mine.live()
    assert [each.kind for each in live] == ["opcua.create_subscription"] + 3 * [
        "opcua.create_monitored_items"
    ]
    assert mine.item(5, 71) is live[2]
    assert mine.item(6, 71) is None
    assert not mine.reserved


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("ModifySubscription", SUBSCRIPTION),
        ("SetPublishingMode", {0: SUBSCRIPTION, 1: SUBSCRIPTION}),
        ("DeleteSubscriptions", {0: SUBSCRIPTION, 1: SUBSCRIPTION}),
        ("TransferSubscriptions", {0: SUBSCRIPTION, 1: SUBSCRIPTION}),
        ("CreateMonitoredItems", SUBSCRIPTION),
        ("ModifyMonitoredItems", SUBSCRIPTION),
        ("SetMonitoringMode", SUBSCRIPTION),
        ("SetTriggering", SUBSCRIPTION),
        ("DeleteMonitoredItems", SUBSCRIPTION),
        ("Publish", {0: SUBSCRIPTION, 1: SUBSCRIPTION}),
        ("Republish", SUBSCRIPTION),
        ("BrowseNext", {0: POINT, 1: POINT}),
    ],
)
def test_what_is_anothers_does_not_exist(name: str, refused: object) -> None:
    assert Ownership().check(asked(SAMPLES[name][0])) == refused


def test_only_what_is_anothers_is_refused() -> None:
    mine = session()
    both = {1: SUBSCRIPTION}
    for name in ("SetPublishingMode", "DeleteSubscriptions", "Publish"):
        assert mine.check(asked(SAMPLES[name][0])) == both
    assert mine.check(wants("SetMonitoringMode", SubscriptionId=5, MonitoredItemIds=[70, 9])) == {1: ITEM}
    assert mine.check(wants("DeleteMonitoredItems", SubscriptionId=5, MonitoredItemIds=[9, 72])) == {0: ITEM}
    changed = wants("ModifyMonitoredItems", SubscriptionId=5, ItemsToModify=[modified(9), modified(70)])
    assert mine.check(changed) == {0: ITEM}


def test_both_ends_of_a_trigger_are_ones_own() -> None:
    mine = session()
    assert mine.check(asked(SAMPLES["SetTriggering"][0])) == {}
    for changed in ({"TriggeringItemId": 9}, {"LinksToAdd": [71, 9]}, {"LinksToRemove": [9]}):
        asking = {"SubscriptionId": 5, "TriggeringItemId": 70, "LinksToAdd": [71], "LinksToRemove": [72]}
        assert mine.check(wants("SetTriggering", **{**asking, **changed})) == Status.MONITORED_ITEM_ID_INVALID


def test_methods_that_name_a_subscription() -> None:
    mine = session()

    def check(*arguments: Any, method: Any = GET_MONITORED_ITEMS) -> object:
        return mine.check(wants("Call", MethodsToCall=[call(SERVER, method, *arguments)]))

    number = ua.VariantType.UInt32
    assert check(ua.Variant(5, number)) == {}
    for odd in (
        [ua.Variant(6, number)],
        [],
        [ua.Variant(5, ua.VariantType.Int32)],
        [ua.Variant([5], number)],
    ):
        assert check(*odd) == {0: SUBSCRIPTION}
    assert check(ua.Variant(6, number), method=ua.NodeId(11492, 0, ua.NodeIdType.Numeric)) == {
        0: SUBSCRIPTION
    }
    assert check(ua.Variant(6, number), method=ua.NodeId(11492, 2)) == {}
    assert check(ua.Variant(6, number), method=ua.NodeId(3875)) == {0: SUBSCRIPTION}


def test_deleted_is_nobodys() -> None:
    mine = session()
    gone = request("DeleteMonitoredItems", SubscriptionId=5, MonitoredItemIds=[70, 71])
    done(mine, gone, answer("DeleteMonitoredItems", Results=statuses(0, ITEM)))
    assert sorted(mine.subscriptions[5].items) == [72]
    done(
        mine,
        request("DeleteSubscriptions", SubscriptionIds=[5]),
        answer("DeleteSubscriptions", Results=statuses(0)),
    )
    assert not mine.subscriptions


def test_what_a_server_refused_is_not_made() -> None:
    mine = session(items=False)
    said = answer("CreateMonitoredItems", Results=[created(70), created(0, 0x80340000), created(72)])
    done(mine, SAMPLES["CreateMonitoredItems"][0], said)
    assert sorted(mine.subscriptions[5].items) == [70, 72]
    bad = answer("CreateSubscription", status=int(Status.TOO_MANY_SUBSCRIPTIONS), SubscriptionId=8)
    done(mine, SAMPLES["CreateSubscription"][0], bad)
    assert list(mine.subscriptions) == [5]


def test_a_modified_item_is_what_was_asked_last() -> None:
    mine = session()
    sent = done(mine, *SAMPLES["ModifyMonitoredItems"])
    assert mine.item(5, 70) is sent[0]
    assert sent[0].opcua is not None
    assert sent[0].opcua.sampling_ms == 500
    changed = done(mine, *SAMPLES["ModifySubscription"])
    assert mine.live()[0] is changed[0]
    assert mine.subscriptions[5].publishing_ms == 1000


def test_the_server_ends_a_subscription() -> None:
    mine = session()
    said = answer(
        "Publish",
        SubscriptionId=5,
        NotificationMessage=notification(ended=int(Status.TIMEOUT)),
        Results=statuses(0),
    )
    done(mine, request("Publish", SubscriptionAcknowledgements=[acknowledgement(5, 1)]), said)
    assert not mine.subscriptions


def test_a_foreign_acknowledgement_is_left_out() -> None:
    mine = session()
    found = asked(SAMPLES["Publish"][0])
    refused = mine.check(found)
    assert isinstance(refused, dict)
    outbound = Outbound(found, UPSTREAM, refused=refused)
    assert outbound.parts == 0
    sent = asked(outbound.encode())
    assert sent.items == 1
    assert sent.item(0) == pack("<II", 5, 11)
    said = answer("Publish", SubscriptionId=5, NotificationMessage=notification(), Results=statuses(0))
    came = read_answer(outbound, said)
    assert isinstance(came, ServiceAnswer)
    assert came.encode()[-16:] == pack("<iIIi", 2, 0, SUBSCRIPTION, 0)


def test_subscriptions_move_between_sessions_of_one_identity() -> None:
    old, new = session(), Ownership()
    found = asked(SAMPLES["TransferSubscriptions"][0])
    assert new.check(found, also=[old]) == {1: SUBSCRIPTION}
    old.transfer([5, 6], into=new)
    assert not old.subscriptions
    assert new.items == 3
    full = Ownership(Bounds(subscriptions=1))
    done(full, *SAMPLES["CreateSubscription"])
    other = Ownership()
    other.subscriptions[6] = new.subscriptions[5]
    refused = full.check(found, also=[other])
    assert refused == {1: int(Status.TOO_MANY_SUBSCRIPTIONS)}


# bounds -----------------------------------------------------------------------------------------------


def test_subscriptions_are_counted_on_their_way_too() -> None:
    mine = Ownership(Bounds(subscriptions=2))
    first, second, third = (asked(SAMPLES["CreateSubscription"][0]) for _ in range(3))
    assert mine.check(first) == {}
    assert mine.check(second) == {}
    assert mine.check(third) == Status.TOO_MANY_SUBSCRIPTIONS
    mine.release(first)
    assert mine.check(third) == {}


def test_items_beyond_the_bound_are_refused_one_by_one() -> None:
    mine = session(Bounds(items=2, least_sampling_ms=0), items=False)
    found = asked(SAMPLES["CreateMonitoredItems"][0])
    assert mine.check(found) == {2: int(Status.TOO_MANY_MONITORED_ITEMS)}
    again = asked(SAMPLES["CreateMonitoredItems"][0])
    assert mine.check(again) == {at: int(Status.TOO_MANY_MONITORED_ITEMS) for at in range(3)}
    mine.release(found)
    mine.release(again)
    assert not mine.reserved


def test_intervals_and_queues_have_bounds() -> None:
    mine = session(Bounds(most_queue=10, least_sampling_ms=100, least_publishing_ms=100), items=False)
    asking = [
        item(LEVEL, 100.0, queue=10),
        item(LEVEL, 99.0),
        item(LEVEL, 0.0),
        item(LEVEL, -1.0),
        item(LEVEL, 100.0, queue=11),
        item(LEVEL, float("nan")),
        item(SERVER, 0.0, attribute=12, filtered=event_filter()),
    ]
    out = int(Status.OUT_OF_RANGE)
    found = wants("CreateMonitoredItems", SubscriptionId=5, ItemsToCreate=asking)
    assert mine.check(found) == dict.fromkeys((1, 2, 4, 5), out)
    for interval, fits in ((100.0, True), (99.0, False), (0.0, False), (-1.0, False), (float("nan"), False)):
        made = wants("CreateSubscription", RequestedPublishingInterval=interval)
        assert (mine.check(made) == {}) is fits
        changed = wants("ModifySubscription", SubscriptionId=5, RequestedPublishingInterval=interval)
        assert (mine.check(changed) == {}) is fits


def test_a_modified_item_has_the_same_bounds() -> None:
    mine = session(Bounds(least_sampling_ms=100))
    changed = wants(
        "ModifyMonitoredItems", SubscriptionId=5, ItemsToModify=[modified(70, 10), modified(71, 100)]
    )
    assert mine.check(changed) == {0: int(Status.OUT_OF_RANGE)}


# continuation points ------------------------------------------------------------------------------------


def test_a_browse_goes_on_as_what_it_began() -> None:
    mine = Ownership()
    done(mine, *SAMPLES["Browse"])
    found = asked(SAMPLES["BrowseNext"][0])
    assert mine.check(found) == {1: POINT}
    operations = PLACE.operations(found, Context(NAMESPACES, session=mine), Nothing(), Now(0, 0, True, 0))
    assert operations[0].opcua is not None
    assert (operations[0].opcua.service, operations[0].opcua.node) == ("BrowseNext", "i=85")
    alone = request("BrowseNext", ContinuationPoints=[b"more of 85"])
    done(mine, alone, answer("BrowseNext", Results=[browse_result(continuation=b"third page")]))
    assert mine.check(asked(alone)) == {0: POINT}
    assert mine.check(wants("BrowseNext", ContinuationPoints=[b"third page"])) == {}


def test_a_history_goes_on_for_its_node_alone() -> None:
    mine = Ownership()
    done(mine, *SAMPLES["HistoryRead"])

    def check(node: Any, point: bytes | None) -> object:
        asking = {"HistoryReadDetails": raw_details(), "NodesToRead": [history(node, point)]}
        return mine.check(wants("HistoryRead", **asking))

    assert check(LEVEL, b"go on") == {}
    assert check(SETPOINT, b"go on") == {0: POINT}
    assert check(LEVEL, b"another's") == {0: POINT}
    assert check(LEVEL, None) == {}
    assert mine.check(wants("BrowseNext", ContinuationPoints=[b"go on"])) == {0: POINT}


def test_continuation_points_are_bounded() -> None:
    mine = Ownership(Bounds(points=3))
    for number in range(5):
        said = answer("Browse", Results=[browse_result(continuation=b"%d" % number)])
        done(mine, request("Browse", NodesToBrowse=[browse(LEVEL)]), said)
    assert list(mine.browses) == [b"2", b"3", b"4"]
