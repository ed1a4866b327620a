"""Requests, answers, and that an approval is used once, by whom and for what it names, within its time."""

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.admin.approvals import DEFAULT_WITHIN_S, MOST_KEPT, PENDING_S, SHARE_OF_ONE
from gateway.admin.impossible import Impossible
from gateway.admin.request import KIND, Request, State, Vote
from gateway.admin.votes import MOST_VOTES, MOST_WITHIN_S, SKEW_S
from gateway.model.decision import Obligation
from gateway.model.identity import Caller
from gateway.model.moment import SECOND
from gateway.model.operation import Operation
from tests.pki import Credential, Pki
from tests.unit.admin.people import BY, WRITE, Site, issued, write

ANN = "spiffe://demo.example/person/admin-ann"
BOB = "spiffe://demo.example/person/admin-bob"


@pytest.fixture
def site(pki: Pki, tmp_path: Path) -> Site:
    return Site(pki, tmp_path)


def refused(code: str, site: Site, who: Credential, request: str, /, **changes: Any) -> None:
    with pytest.raises(Impossible) as info:
        site.say(who, request, **changes)
    assert info.value.code == code


# used once, by the identity and for the operation it names, within its time -------------------------------


def test_a_granted_request_is_claimed_by_the_same_write_and_used_once(site: Site) -> None:
    request = site.ask(site.hmi)
    assert site.may() == ()
    site.say(site.ann, request)
    approval = site.approvals.claim(site.hmi, WRITE, site.clock())
    assert approval is not None
    assert (approval.id, approval.by) == (request, (ANN,))
    assert site.approvals.spend(approval, site.clock())
    assert not site.approvals.spend(approval, site.clock())
    assert site.may() == ()


OTHERS = [
    write(501),
    write(address=11),
    write(unit=2),
    write(asset="plc-2"),
    replace(WRITE, kind="modbus.write_multiple_registers"),
    replace(WRITE, points=()),
]


@pytest.mark.parametrize("other", OTHERS)
def test_another_operation_is_another_request(site: Site, other: Operation) -> None:
    site.say(site.ann, site.ask(site.hmi))
    assert site.may(operation=other) == ()
    assert site.may() == (ANN,)


def test_another_identity_zone_or_listener_cannot_use_it(site: Site) -> None:
    site.say(site.ann, site.ask(site.hmi))
    thief = site.caller(
        issued(site.pki, "modbus-client", "plant", "admin-thief", "operator"), "plant", "modbus"
    )
    assert site.may(thief) == ()
    assert site.may(replace(site.hmi, listener="other")) == ()
    assert site.may(replace(site.hmi, zone="it")) == ()
    assert site.may(replace(site.hmi, identity=replace(site.hmi.identity, zone="it"))) == ()
    assert site.may(replace(site.hmi, source="127.0.0.9", connection="01D")) == (ANN,)


def test_the_value_polled_before_may_differ_from_one_try_to_the_next(site: Site) -> None:
    site.say(site.ann, site.ask(site.hmi))
    later = replace(WRITE, points=(replace(WRITE.points[0], q_prev=377, age_ms=90),))
    assert site.may(operation=later) == (ANN,)


def test_a_grant_counts_until_it_expires(site: Site) -> None:
    site.say(site.ann, site.ask(site.hmi), within_s=600)
    site.clock.advance(599)
    assert site.may() == (ANN,)
    site.clock.advance(1)
    assert site.may() == ()
    assert site.approvals.recent(1, site.clock())[0]["state"] == "expired"


def test_a_clock_set_back_makes_no_grant_live_longer(site: Site) -> None:
    site.say(site.ann, site.ask(site.hmi), within_s=600)
    now = site.clock()
    later = replace(now, mono_ns=now.mono_ns + 601 * SECOND)
    assert site.approvals.claim(site.hmi, WRITE, later) is None


def test_a_request_waits_an_hour_and_no_longer(site: Site) -> None:
    request = site.ask(site.hmi)
    site.clock.advance(PENDING_S)
    refused("request_over", site, site.ann, request)
    assert site.ask(site.hmi) != request


def test_the_time_of_an_obligation_has_a_bound_and_a_default(site: Site) -> None:
    for within, seconds in (
        (10**9, MOST_WITHIN_S),
        (None, DEFAULT_WITHIN_S),
        ("900", DEFAULT_WITHIN_S),
        (-5, 1),
    ):
        by = Obligation("approval", (("by", "supervisor"), ("within_s", within)))
        request = site.ask(site.hmi, write(seconds % 65_536), by)
        assert {r["request"]: r["within_s"] for r in site.approvals.recent(9, site.clock())}[
            request
        ] == seconds


# two people -----------------------------------------------------------------------------------------------


def test_nobody_grants_their_own_request_under_whatever_certificate(site: Site) -> None:
    asking = site.caller(site.ann, "it", "admin")
    request = site.ask(asking)
    refused("own_request", site, site.ann, request)
    site.pki.authority.renew("it", "admin-ann", site.pki.now)  # in the same place, with another key
    refused("own_request", site, site.ann, request)
    assert site.may(asking) == ()
    site.say(site.bob, request)
    assert site.may(asking) == (BOB,)


def test_another_name_over_the_requesters_key_is_no_other_person(site: Site) -> None:
    twin = site.caller(site.ann, "it", "admin").identity
    asking = replace(site.hmi, identity=replace(site.hmi.identity, ski=twin.ski))
    request = site.ask(asking)
    refused("own_request", site, site.ann, request)
    site.say(site.bob, request)
    assert site.may(asking) == (BOB,)


def behind(site: Site, user: str | None) -> Caller:
    """The HMI, with a user behind it."""
    return replace(site.hmi, identity=replace(site.hmi.identity, on_behalf_of=user))


def test_the_user_behind_an_application_cannot_grant_what_it_asks_for_them(site: Site) -> None:
    """Over an application's connection Ann asks, over her own she would agree: that is one person."""
    asking = behind(site, ANN)
    request = site.ask(asking)
    refused("own_request", site, site.ann, request)
    site.say(site.bob, request)
    assert site.may(asking) == (BOB,)


def test_what_is_granted_to_one_user_is_nobody_elses(site: Site) -> None:
    request = site.ask(behind(site, ANN))
    assert site.ask(behind(site, "urn:user:otto")) != request
    assert site.ask(site.hmi) != request
    site.say(site.bob, request)
    assert site.may(behind(site, "urn:user:otto")) == site.may(site.hmi) == ()
    assert site.may(behind(site, ANN)) == (BOB,)


def test_a_row_that_forgets_the_user_behind_makes_nobody_two_people(site: Site) -> None:
    """What counts is who asks now, and what was signed; whoever edits the file changes neither."""
    asking = behind(site, ANN)
    request = site.ask(asking)
    vote = site.signed(site.ann, request)
    _insert(site, replace(_stored(site, request), on_behalf_of=None, votes=(vote,)))
    site.restart()
    assert site.may(asking) == ()


def test_two_people_count_as_two_and_one_person_as_one(site: Site) -> None:
    request = site.ask(site.hmi)
    site.say(site.ann, request)
    refused("granted_already", site, site.ann, request)
    site.say(site.bob, request)
    assert site.may() == (ANN, BOB)


def test_a_second_grant_makes_the_first_live_no_longer(site: Site) -> None:
    request = site.ask(site.hmi)
    site.say(site.ann, request, within_s=60)
    site.clock.advance(30)
    site.say(site.bob, request, within_s=900)
    site.clock.advance(30)
    assert site.may() == ()


def test_so_many_people_may_answer(site: Site) -> None:
    request = site.ask(site.hmi)
    for number in range(MOST_VOTES):
        site.say(issued(site.pki, "person", "it", f"admin-p{number}"), request)
    refused("enough_votes", site, site.bob, request)
    assert len(site.may()) == MOST_VOTES


def test_a_workload_grants_nothing_even_with_a_row_of_its_own(site: Site) -> None:
    request = site.ask(site.hmi)
    machine = issued(site.pki, "it-client", "it", "admin-machine")
    site.say(machine, request)  # the API lets no machine come so far
    assert site.may() == ()


# what a statement must say --------------------------------------------------------------------------------

WRONG = {
    "gateway": "gw-2",
    "request": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "operation": "0" * 64,
    "what": "nothing of importance",
    "requester": "spiffe://demo.example/plant/other",
    "approver": BOB,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_statement_about_something_else_proves_nothing(site: Site, field: str) -> None:
    request = site.ask(site.hmi)
    refused("bad_statement", site, site.ann, request, **{field: WRONG[field]})
    assert site.may() == ()


def test_a_signed_refusal_is_no_grant(site: Site) -> None:
    request = site.ask(site.hmi)
    vote = site.signed(site.ann, request, "refuse")
    found, ann = site.approvals.find(request, site.clock()), site.caller(site.ann, "it", "admin")
    with pytest.raises(Impossible, match="decision"):
        site.approvals.weigh(found, vote, "grant", ann, site.clock())


def test_a_statement_signed_by_another_key_proves_nothing(site: Site) -> None:
    refused("bad_statement", site, site.ann, site.ask(site.hmi), key=site.bob)


def test_a_statement_counts_only_on_the_connection_of_its_signer(site: Site) -> None:
    request = site.ask(site.hmi)
    vote = site.signed(site.ann, request)
    with pytest.raises(Impossible, match="another certificate"):
        site.approvals.weigh(
            site.approvals.find(request, site.clock()),
            vote,
            "grant",
            site.caller(site.bob, "it", "admin"),
            site.clock(),
        )


def test_times_that_cannot_be_are_refused(site: Site) -> None:
    request = site.ask(site.hmi)
    vote = site.signed(site.ann, request)
    found, ann = site.approvals.find(request, site.clock()), site.caller(site.ann, "it", "admin")
    for seconds in (SKEW_S + 1, -SKEW_S - 1):
        now = replace(site.clock(), wall_ns=site.clock().wall_ns + seconds * SECOND)
        with pytest.raises(Impossible, match="issued"):
            site.approvals.weigh(found, vote, "grant", ann, now)
    refused("bad_statement", site, site.ann, request, within_s=901)
    site.clock.advance(200)
    old = site.signed(site.ann, request, within_s=100, issued=_at(site, -200), expires=_at(site, -100))
    with pytest.raises(Impossible, match="expired"):
        site.approvals.weigh(found, old, "grant", ann, site.clock())


def test_a_statement_from_a_clock_ahead_counts_no_longer_than_any_other(site: Site) -> None:
    request = site.ask(site.hmi)
    ahead = (site.pki.now + timedelta(seconds=SKEW_S - 10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    late = (site.pki.now + timedelta(seconds=SKEW_S - 10 + 900)).strftime("%Y-%m-%dT%H:%M:%SZ")
    site.say(site.ann, request, issued=ahead, expires=late)
    site.clock.advance(899)
    assert site.may() == (ANN,)
    site.clock.advance(1)
    assert site.may() == ()


def _at(site: Site, seconds: int) -> str:
    moment = site.pki.now + timedelta(seconds=200 + seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# refusing -------------------------------------------------------------------------------------------------


def test_a_refusal_stands_and_asking_again_makes_no_second_question(site: Site) -> None:
    request = site.ask(site.hmi)
    site.say(site.ann, request, "refuse")
    assert site.ask(site.hmi) == request
    refused("request_over", site, site.bob, request)
    site.restart()
    assert site.ask(site.hmi) == request
    site.clock.advance(PENDING_S)
    assert site.ask(site.hmi) != request


def test_who_refuses_ends_what_another_granted(site: Site) -> None:
    request = site.ask(site.hmi)
    site.say(site.ann, request)
    site.say(site.bob, request, "refuse")
    assert site.may() == ()


# revocation and the store ---------------------------------------------------------------------------------


def test_the_approval_of_somebody_revoked_counts_no_more(fresh_pki: Pki, tmp_path: Path) -> None:
    site = Site(fresh_pki, tmp_path)
    request = site.ask(site.hmi)
    site.say(site.ann, request)
    site.say(site.bob, request)
    fresh_pki.revoke("it", "admin-ann")
    assert site.trust["it"].reload()
    assert site.may() == (BOB,)


def test_everything_survives_a_restart_and_used_stays_used(site: Site) -> None:
    granted, pending, used = (site.ask(site.hmi, write(n)) for n in (1, 2, 3))
    site.say(site.ann, granted)
    site.say(site.ann, used)
    approval = site.approvals.claim(site.hmi, write(3), site.clock())
    assert approval is not None
    assert site.approvals.spend(approval, site.clock())
    site.restart()
    assert site.may(operation=write(1)) == (ANN,)
    assert site.ask(site.hmi, write(2)) == pending
    assert site.may(operation=write(3)) == ()
    assert not site.approvals.spend(approval, site.clock())


def test_after_a_restart_an_untrusted_clock_leaves_nothing_granted(site: Site) -> None:
    request = site.ask(site.hmi)
    site.say(site.ann, request)
    trusted = site.clock
    untrusted = replace(trusted(), trusted=False)
    site.clock = lambda: untrusted  # type: ignore[assignment] # a clock that stands still
    site.restart()
    assert site.may() == ()


def _insert(site: Site, request: Request) -> None:
    with sqlite3.connect(site.file) as file:
        file.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
            (KIND, request.id, msgspec.json.encode(request)),
        )


def _stored(site: Site, request: str) -> Request:
    return site.store.read(KIND, Request)[request]


def test_an_editor_of_the_file_without_a_key_gets_nothing(site: Site) -> None:
    request = site.ask(site.hmi)
    signed = site.signed(site.ann, request)
    forged = [
        Vote(statement="", signature="", certificate=""),
        Vote(statement=signed.statement, signature="", certificate=signed.certificate),
        Vote(statement=signed.statement, signature="!", certificate="!"),
        replace(signed, statement=signed.statement.replace(request, request[:-1] + "0")),
        replace(signed, signature=site.signed(site.ann, request, key=site.bob).signature),
    ]
    for vote in forged:
        _insert(site, replace(_stored(site, request), votes=(vote,), state=State.OPEN))
        site.alarms.clear()
        site.restart()
        assert site.may() == ()
        assert site.alarms == ["admin.forged_approval"]
        assert site.approvals.recent(5, site.clock())  # people can still see what there is


SIGNED_BUT: dict[str, dict[str, Any]] = {
    "of another gateway": {"gateway": "gw-2"},
    "about another request": {"request": "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
    "about another operation": {"operation": "0" * 64},
    "about another's request": {"requester": "spiffe://demo.example/plant/other"},
    "in another's name": {"approver": BOB},
    "from the future": {"issued": "2999-01-01T00:00:00Z", "expires": "2999-01-01T00:10:00Z"},
    "for years": {"expires": "2999-01-01T00:00:00Z"},
    "long ago": {"issued": "2020-01-01T00:00:00Z", "expires": "2020-01-01T00:10:00Z"},
}


def _written_by_hand(site: Site, request: str, *votes: Vote) -> None:
    """Whoever has the gateway's disk puts these into the row, and starts it again."""
    late = site.clock().wall_ns + 1000 * SECOND
    _insert(site, replace(_stored(site, request), votes=votes, until_ns=late, within_s=10**9))
    site.restart()


@pytest.mark.parametrize("but", SIGNED_BUT)
def test_a_row_with_a_statement_that_somebody_signed_counts_only_for_what_it_says(
    site: Site, but: str
) -> None:
    request = site.ask(site.hmi)
    _written_by_hand(site, request, site.signed(site.ann, request))
    assert site.may() == (ANN,)
    _written_by_hand(site, request, site.signed(site.ann, request, **SIGNED_BUT[but]))
    assert site.may() == ()


def test_a_refusal_in_a_row_that_says_open_is_no_grant(site: Site) -> None:
    request = site.ask(site.hmi)
    _written_by_hand(site, request, site.signed(site.ann, request, "refuse"))
    assert site.may() == ()


def test_a_row_makes_nobody_two_people(site: Site) -> None:
    """Root on the gateway who is Ann, with all the certificates that she has."""
    ann = site.caller(site.ann, "it", "admin")
    own, request = site.ask(ann), site.ask(site.hmi, write(3))
    first, word = site.signed(site.ann, own), site.signed(site.ann, request)
    before = site.ann.der
    site.pki.authority.renew("it", "admin-ann", site.pki.now)  # in the same place, with another key
    assert site.ann.der != before
    _written_by_hand(site, own, first, site.signed(site.ann, own))
    assert site.may(ann) == ()
    _written_by_hand(site, request, word, word, site.signed(site.ann, request))
    assert site.may(operation=write(3)) == (ANN,)
    ann = site.caller(site.ann, "it", "admin")
    twin = replace(site.hmi, identity=replace(site.hmi.identity, ski=ann.identity.ski))
    request = site.ask(twin, write(2))
    _written_by_hand(site, request, site.signed(site.ann, request))
    assert site.may(twin, write(2)) == ()


def test_a_row_with_more_votes_than_people_may_give_counts_so_many(site: Site) -> None:
    request = site.ask(site.hmi)
    people = [issued(site.pki, "person", "it", f"admin-p{number}") for number in range(MOST_VOTES + 1)]
    _written_by_hand(site, request, *(site.signed(each, request) for each in people))
    assert len(site.may()) == MOST_VOTES


def test_rows_that_appear_while_it_runs_are_not_read(site: Site) -> None:
    request = site.ask(site.hmi)
    _insert(site, replace(_stored(site, request), votes=(site.signed(site.ann, request),)))
    assert site.may() == ()


def test_without_its_file_nothing_is_asked_granted_or_used(site: Site) -> None:
    request = site.ask(site.hmi)
    site.say(site.ann, request)
    approval = site.approvals.claim(site.hmi, WRITE, site.clock())
    assert approval is not None
    site.store.close()
    assert site.ask(site.hmi, write(2)) == ""
    refused("not_kept", site, site.bob, request)
    assert not site.approvals.spend(approval, site.clock())
    assert site.may() == ()


def test_one_row_that_cannot_be_read_is_an_alarm_and_nothing_counts(site: Site) -> None:
    site.say(site.ann, site.ask(site.hmi))
    with sqlite3.connect(site.file) as file:
        file.execute("INSERT INTO entries VALUES (?, 'x', '{}')", (KIND,))
    site.restart()
    assert site.alarms == ["admin.store_damaged"]
    assert site.may() == ()
    assert site.ask(site.hmi, write(2)) == ""


# bounds ---------------------------------------------------------------------------------------------------


def test_a_flood_of_one_requester_leaves_room_for_others(pki: Pki, tmp_path: Path) -> None:
    site = Site(pki, tmp_path, most_pending=20)
    found = [site.ask(site.hmi, write(n)) for n in range(50)]
    share = 20 // SHARE_OF_ONE
    assert [bool(each) for each in found] == [True] * share + [False] * (50 - share)
    assert site.ask(site.named("spiffe://demo.example/plant/other")) != ""
    assert site.counted.count("approvals_no_room") == 50 - share
    site.clock.advance(PENDING_S)
    assert site.ask(site.hmi, write(49)) != ""


def test_so_many_wait_at_once_all_together(pki: Pki, tmp_path: Path) -> None:
    site = Site(pki, tmp_path, most_pending=3)
    found = [site.ask(site.named(f"spiffe://demo.example/plant/x{n}")) for n in range(5)]
    assert [bool(each) for each in found] == [True] * 3 + [False] * 2


def test_asking_again_writes_nothing(site: Site) -> None:
    request = site.ask(site.hmi)
    told = list(site.story)
    assert {site.ask(site.hmi) for _ in range(100)} == {request}
    assert site.story == told


def test_policy_may_want_another_role_as_well(site: Site) -> None:
    request = site.ask(site.hmi)
    sooner = Obligation("approval", (("by", "safety"), ("within_s", 60)))
    assert site.ask(site.hmi, by=sooner) == request
    site.restart()
    listed = site.approvals.recent(1, site.clock())[0]
    assert (listed["by_role"], listed["within_s"]) == (["supervisor", "safety"], 60)
    for number in range(20):
        site.ask(site.hmi, by=Obligation("approval", (("by", f"role-{number}"),)))
    assert len(site.approvals.recent(1, site.clock())[0]["by_role"]) <= 8


def test_what_is_over_is_kept_for_a_while_and_not_for_ever(pki: Pki, tmp_path: Path) -> None:
    site = Site(pki, tmp_path, most_pending=MOST_KEPT * 2)
    for number in range(MOST_KEPT + 20):
        site.ask(site.named(f"spiffe://demo.example/plant/x{number}"))
    site.clock.advance(PENDING_S)
    site.approvals.sweep(site.clock())
    assert site.approvals.status()["expired"] == MOST_KEPT
    assert len(site.store.read(KIND, Request)) == MOST_KEPT


def test_what_nobody_could_look_through_is_not_asked(site: Site) -> None:
    long = replace(WRITE, points=tuple(replace(WRITE.points[0], tag=f"tag-{n}") for n in range(400)))
    assert site.ask(site.hmi, long) == ""
    odd = replace(WRITE, points=(replace(WRITE.points[0], q=1 << 60),))
    assert site.ask(site.hmi, odd) == ""
    assert site.may(operation=odd) == ()


# the record -----------------------------------------------------------------------------------------------


def test_both_people_and_the_signed_statements_are_told_to_the_journal_when_it_is_used(site: Site) -> None:
    request = site.ask(site.hmi)
    vote = site.say(site.ann, request).votes[0]
    approval = site.approvals.claim(site.hmi, WRITE, site.clock())
    assert approval is not None
    site.approvals.spend(approval, site.clock())
    note = site.journal.notes[-1]
    assert note["event"] == "approval used"
    assert (note["requester"], note["by"]) == (site.hmi.identity.subject, [ANN])
    assert (note["statement_1"], note["signature_1"], note["certificate_1"]) == (
        vote.statement,
        vote.signature,
        vote.certificate,
    )


def test_the_obligation_without_a_time_is_asked_for_by_the_role_it_names(site: Site) -> None:
    site.ask(site.hmi, by=BY)
    assert site.journal.notes[-1]["by_role"] == "supervisor"
