"""Recorded operations decided again: what turns is found, named, grouped, and quickly."""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.author import replay
from gateway.author.grouping import MOST_EXAMPLES, MOST_RANGES, Ranges, Turn
from gateway.author.replay import Replay
from gateway.cli import main
from gateway.model.asset import Table
from gateway.policy.bundle import Bundle
from tests.policy.questions import HMI, VIEW, caller, shipped
from tests.unit.author.mutants import Data, grant, with_data
from tests.unit.author.world import Asked, answers, reading, record, replayed, setting
from tests.unit.policy.bundles import written

MANY = int(os.environ.get("DMZ_REPLAY", "20000"))
"Recorded operations; DMZ_REPLAY=100000 for all of must-hold 6."
MOST_S = 30.0
HMI_1, VIEW_1 = caller(HMI, "operator"), caller(VIEW, "viewer")
LOWER = "plc-1.level_sp: {min: 100, max: 900, max_delta: 300}"


def run(folder: Path, new: Bundle, old: Bundle | None = None) -> Replay:
    corpus, seen = replayed(folder)
    return replay.run(corpus, answers(new), None if old is None else answers(old), seen)


def lower(bundle: Bundle) -> Bundle:
    """The level may be set to 80 % at most."""
    return with_data(
        bundle, lambda d: grant(d, "operator-level-setpoint")["limits"]["plc-1.level_sp"].update(max=800)
    )


def day(many: int, high: int) -> Iterator[Asked]:
    """A day of polling and setting, with some settings above 80 %."""
    dice = random.Random(4)  # noqa: S311  traffic, no secret
    reads = [reading(s, c, t) for s in range(0, 90, 3) for c in (1, 5, 10) for t in Table]
    special = {many * (place + 1) // (high + 1) for place in range(high)}
    for number in range(many):
        if number in special:
            yield HMI_1, setting(850, 840)
        elif number % 20 == 0:
            q = dice.randrange(100, 600)
            yield HMI_1, setting(q, q + dice.randrange(200))
        else:
            yield dice.choice((HMI_1, VIEW_1)), dice.choice(reads)


def test_three_of_many_that_would_be_denied_are_found_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = record(tmp_path / "data", shipped(), day(MANY, 3))
    grants = shipped().files["data/grants.yaml"].decode()
    assert LOWER in grants
    new = written(tmp_path / "new", {"data/grants.yaml": grants.replace(LOWER, LOWER.replace("900", "800"))})
    begun = time.monotonic()
    assert (
        main(["policy", "replay", "--bundle", str(new), "--journal", str(folder), "--progress", "--json"])
        == 0
    )
    took = time.monotonic() - begun
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert took < MOST_S * MANY / 100_000 + 5, f"{took:.1f} s for {MANY}"
    assert f"{MANY} operations decided again" in said.err
    assert (told["operations"], told["widens"], told["narrows"]) == (MANY, 0, 3)
    (group,) = told["groups"]
    assert (group["subject"], group["asset"], group["tags"]) == (HMI, "plc-1", ["plc-1.level_sp"])
    assert (group["count"], group["grants_lost"]) == (3, ["operator-level-setpoint"])
    assert "grant.limits" in group["codes_after"]
    assert len(group["examples"]) == 3
    assert main(["audit", "show", group["examples"][0], "--data", str(folder)]) == 0


def test_what_would_be_allowed_comes_first_and_answers_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = record(tmp_path / "data", shipped(), [(VIEW_1, setting(425)), (HMI_1, setting(850, 840))])
    grants = shipped().files["data/grants.yaml"].decode()
    changed = grants.replace(LOWER, LOWER.replace("900", "800"))
    changed = changed.replace("- id: operator-level-setpoint\n    roles: [operator]",
                              "- id: operator-level-setpoint\n    roles: [operator, viewer]")  # fmt: skip
    new = written(tmp_path / "new", {"data/grants.yaml": changed})
    call = ["policy", "replay", "--bundle", str(new), "--journal", str(folder)]
    assert main(call) == 0
    assert main([*call, "--no-widening"]) == 1
    text = capsys.readouterr().out
    assert text.index("would be ALLOWED") < text.index("would be DENIED")
    assert VIEW in text
    assert "denied before by: grant.none" in text
    assert "grants lost: operator-level-setpoint" in text


def test_against_an_old_bundle_only_the_bundles_differ(tmp_path: Path) -> None:
    folder = record(tmp_path, shipped(), [(HMI_1, setting(850, 840))] * 2)
    assert run(folder, lower(shipped()), lower(shipped())).groups.counts[Turn.NARROWS] == 0
    found = run(folder, shipped(), lower(shipped()))
    assert found.groups.counts[Turn.WIDENS] == 2
    assert found.evaluated == 1, "equal questions are evaluated once"
    assert found.widens


def test_other_hours_of_a_window_count(tmp_path: Path) -> None:
    def by_day(hours: str) -> Bundle:
        def change(data: Data) -> None:
            data["windows"]["day"] = {"days": ["mon"], "from": "00:00", "to": hours, "zone": "UTC"}
            grant(data, "operator-reads")["windows"] = ["day"]

        return with_data(shipped(), change)

    folder = record(tmp_path, by_day("23:00"), [(HMI_1, reading())])  # recorded on a Monday at 02:13 UTC
    assert run(folder, by_day("23:00")).groups.counts[Turn.NARROWS] == 0
    found = run(folder, by_day("02:00"))
    assert found.groups.counts[Turn.NARROWS] == 1
    assert found.other_hours == 1


def test_examples_and_ranges_of_a_group_are_bounded(tmp_path: Path) -> None:
    asked = [(HMI_1, reading(start)) for start in range(0, 99, 2)]
    found = run(
        record(tmp_path, shipped(), asked),
        with_data(shipped(), lambda d: grant(d, "operator-reads").update(assets=["meter-1"])),
    )
    (group,) = found.groups.sorted()
    assert group.count == len(asked) > MOST_RANGES
    assert len(group.examples) <= MOST_EXAMPLES
    assert len(group.ranges.spans) <= MOST_RANGES
    assert (group.ranges.spans[0][0], group.ranges.spans[-1][1]) == (0, 98)


def test_ranges_join_only_over_gaps_that_are_allowed() -> None:
    strict, wide = Ranges(0), Ranges(2)
    for first, last in ((10, 19), (0, 3), (4, 5), (8, 8), (22, 22)):
        strict.add(first, last)
        wide.add(first, last)
    assert strict.spans == [(0, 5), (8, 8), (10, 19), (22, 22)]
    assert wide.spans == [(0, 22)]
    assert str(strict) == "0-5, 8, 10-19, 22"
