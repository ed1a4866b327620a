"""Must hold 8, from the wire to the plant: an engine that fails in whatever way denies, nothing else breaks.

tests/unit/policy has every odd answer at the engine's border. Here the gateway process, its TLS clients and
its journal are real; only the engine library under it is wrapped so that it can be broken while it runs
(breaking_engine.py). The last tests break nothing: there the real engine runs a policy that is at fault.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .breaking_engine import BREAKS, WHERE
from .site import Site, until, value

OBLIGED = {"unknown-obligation": "obligation.unknown", "odd-rate": "obligation.malformed"}
OBLIGED["odd-expiry"] = "obligation.malformed"
"Answers that are well formed, and oblige us to what we cannot do."
WRITTEN = bytes.fromhex("06000a0007")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One gateway with an engine that breaks while the file `how` says so; every read is evaluated."""
    folder = tmp_path_factory.mktemp("engine")
    with Site(folder, audit="denials_in_full: 1000") as site:
        site.config.write_text(
            site.config.read_text().replace("{bundle: policies}", "{bundle: policies, cache_entries: 0}")
        )
        site.run(module="tests.faults.breaking_engine", env={WHERE: str(folder / "how")})
        yield site


@pytest.fixture
def how(site: Site) -> Iterator[Path]:
    path = site.folder / "how"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", BREAKS)
def test_denied_end_to_end(site: Site, how: Path, name: str) -> None:
    assert site.plant is not None
    hmi, view = site.client("hmi-1"), site.client("view-1")
    assert hmi.write(10, 7) == WRITTEN
    assert view.read(5) == value(5)
    how.write_text(name)
    seen, known = len(site.plant.seen), len(site.records("denial"))
    assert hmi.write(10, 8) == b"\x86\x01", "a write that the policy grants"
    assert hmi.write(50, 8) == b"\x86\x01", "a write that it does not grant, though this engine would"
    assert view.read(5) == b"\x83\x01"
    assert view.write(10, 9) == b"\x86\x01"
    how.unlink()
    theirs = [adu for adu in site.plant.seen[seen:] if adu[7:] != bytes.fromhex("03001e0001")]
    assert theirs == [], "but for a poll that was decided before, nothing reached the plant"
    assert site.plant.register(10) == 7

    def told() -> list[str] | None:
        ours = [each for each in site.records("denial")[known:] if each["who"]["listener"] == "modbus-north"]
        codes = [each["why"]["reasons"][0]["code"] for each in ours]
        return codes if len(codes) == 4 else None

    assert set(until("four denials are told", told)) == {OBLIGED.get(name, "engine.error")}
    assert hmi.write(10, 7) == WRITTEN, "and when the engine is well again, it is asked again"
    assert view.read(5) == value(5)


def test_without_obligations_the_same_answer_allows(tmp_path: Path) -> None:
    """What the table changes is what denies: the wrapper's unchanged answer lets the write through."""
    with Site(tmp_path) as site:
        how = tmp_path / "how"
        site.run(module="tests.faults.breaking_engine", env={WHERE: str(how)})
        how.write_text("")
        assert site.client("hmi-1").write(10, 7) == WRITTEN


def test_a_real_policy_that_answers_for_another_revision_is_refused_and_never_asked(tmp_path: Path) -> None:
    """The engine as it ships: a core that stamps its answers wrongly does not get past its tests."""
    with Site(tmp_path) as site:
        site.run()
        hmi = site.client("hmi-1")
        assert hmi.write(10, 7) == WRITTEN
        decision = site.policies / "core" / "decision.rego"
        wrong = decision.read_text().replace("revision := data.bundle.revision", f'revision := "{"0" * 64}"')
        decision.write_text(wrong)
        until("it is refused", lambda: site.status()["refused"].get("policy"))
        assert hmi.write(10, 7) == WRITTEN


def test_a_real_policy_with_an_obligation_that_nobody_knows_denies(tmp_path: Path) -> None:
    """The engine as it ships: a site rule obliges us to what we cannot carry out."""
    with Site(tmp_path) as site:
        assert site.plant is not None
        shutil.rmtree(site.policies / "tests")  # They expect other obligations, and would refuse it.
        rules = site.policies / "site" / "demo" / "site.rego"
        rules.write_text(
            rules.read_text()
            + '\nobligation contains {"type": "levitate", "by": "shift"} if data.dmz.lib.changes\n'
        )
        site.run()
        hmi = site.client("hmi-1")
        assert hmi.write(10, 7) == b"\x86\x01"
        assert site.plant.written == []
        assert hmi.read(5) == value(5), "reads are not obliged"
        reasons = site.wait_record("a denial", lambda record: record["kind"] == "denial")["why"]["reasons"]
        assert reasons[0]["code"] == "obligation.unknown"
