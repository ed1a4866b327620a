"""Turns at a device: who keeps a place in the order, and how many do."""

from typing import Any, cast

from gateway.guard.permit import Permit
from gateway.relay.link.turns import MOST_PLACES, Turns, Waiting


class Asked:
    """A read of some caller, as far as turns look at it."""

    def __init__(self, caller: object) -> None:
        self.caller = caller


def waiting(caller: object, deadline_ns: int = 0) -> Waiting:
    return Waiting(cast(Permit, Asked(caller)), cast(Any, None), deadline_ns)


def callers(those: list[Waiting]) -> list[object]:
    return [each.permit.caller for each in those]


def test_who_was_turned_away_keeps_the_place_that_he_had() -> None:
    turns, patient, served = Turns(), "patient", "served"
    turns.put(waiting(patient, 1))
    assert callers(turns.overdue(1)) == [patient]
    assert not turns
    turns.put(waiting(served, 9))
    turns.put(waiting(patient, 9))
    assert callers([turns.next(), turns.next()]) == [patient, served]


def test_a_place_is_lost_when_the_turn_passes_by() -> None:
    turns, gone, here = Turns(), "gone", "here"
    turns.put(waiting(gone, 1))
    turns.overdue(1)
    turns.put(waiting(here, 9))
    turns.put(waiting(here, 9))
    assert callers([turns.next()]) == [here]
    turns.put(waiting(gone, 9))
    assert callers([turns.next(), turns.next()]) == [here, gone]


def test_places_have_a_bound() -> None:
    turns = Turns()
    those = [object() for _ in range(MOST_PLACES + 10)]
    for caller in those:
        turns.put(waiting(caller, 1))
    assert len(turns.overdue(1)) == len(those)
    assert len(turns._reads) == MOST_PLACES
    assert turns.drain() == []
    assert len(turns._reads) == 0
