"""The demo as a whole: the tour holds, a script from outside agrees, and neither is easily pleased."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Demo, gone

pytestmark = pytest.mark.needs("mosquitto", "curl", "openssl")

LISTEN = "0A"
"The state of a listening socket in /proc/net/tcp."

OUTSIDE = Path(__file__).with_name("outside.py")


def outside(demo: Demo) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(OUTSIDE), str(demo.folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=150,
    )


def wait_for_new_bundle(demo: Demo, change: Callable[[Path], None]) -> None:
    """Change the policy and wait until the gateway has made it active."""
    bundles = Path(demo.facts["data"], "bundles")
    before = set(bundles.iterdir())
    change(Path(demo.facts["policies"]))
    assert gone(lambda: not set(bundles.iterdir()) - before), "the changed policy was not taken"


ALLOW_ALL = """# METADATA
# title: Yes to everything
# scope: document
# entrypoint: true
package dmz

import future.keywords.not

decision := {
	"schema": "dmz.decision/1",
	"allow": true,
	"reasons": {{"code": "grant.matched", "kind": "grant", "msg": "everything is allowed"}},
	"obligations": set(),
	"grants": {"operator-reads"},
	"revision": data.bundle.revision,
}
"""


def allow_all(policies: Path) -> None:
    """Yes to all, in an answer that contradicts nothing; the tests that would refuse the bundle are gone."""
    shutil.rmtree(policies / "tests")
    replace(policies / "core" / "decision.rego", ALLOW_ALL)


def deny_all(policies: Path) -> None:
    replace(policies / "data" / "grants.yaml", "grants: []\n")


def replace(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    part.rename(file)


def test_every_step_of_the_tour_holds(tmp_path: Path) -> None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway",
            "demo",
            "--tour",
            "--json",
            "--require",
            "mqtt",
            "--require",
            "opcua",
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step for step in steps if step["outcome"] != "ok"] == [], done.stderr
    assert len(steps) == 23
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_script_from_outside_agrees(demo: Demo) -> None:
    done = outside(demo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 steps held" in done.stdout


def test_it_fails_where_policy_allows_all(demo: Demo) -> None:
    wait_for_new_bundle(demo, allow_all)
    done = outside(demo)
    assert done.returncode == 1, done.stdout
    assert done.stdout.splitlines()[-2].startswith("forbidden_write"), done.stdout


def test_it_fails_where_policy_denies_all(demo: Demo) -> None:
    wait_for_new_bundle(demo, deny_all)
    done = outside(demo)
    assert done.returncode == 1, done.stdout
    assert done.stdout.splitlines()[-2].startswith("certified_read"), done.stdout


def test_it_fails_where_the_journal_cannot_be_written(demo: Demo) -> None:
    """No file of the gateway may grow or change any more: the kernel answers every write with EFBIG."""
    _, hard = resource.prlimit(demo.facts["pids"]["gateway"], resource.RLIMIT_FSIZE)
    resource.prlimit(demo.facts["pids"]["gateway"], resource.RLIMIT_FSIZE, (0, hard))
    done = outside(demo)
    assert done.returncode == 1, done.stdout
    seen = (demo.folder / "seen" / "plc-1").read_text()
    command = [sys.executable, "-m", "gateway.demo.client", "--demo", str(demo.folder)]
    write = subprocess.run(
        [*command, "write", "holding", "0", "610"], cwd=ROOT, check=False, capture_output=True
    )
    assert write.returncode == 1, write
    assert (demo.folder / "seen" / "plc-1").read_text() == seen


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_process_listens_only_where_the_demo_says(demo: Demo) -> None:
    """A broker's or a library's default port would be a door that nobody watches."""
    told = set(demo.facts["ports"].values())
    assert {port for pid in demo.pids for port in listening(pid)} == told
    assert {address for pid in demo.pids for address in listening_addresses(pid)} == {"0100007F"}


def listening(pid: int) -> set[int]:
    return {int(local.rpartition(":")[2], 16) for local in sockets(pid)}


def listening_addresses(pid: int) -> set[str]:
    """As /proc writes them: 127.0.0.1 is 0100007F."""
    return {local.rpartition(":")[0] for local in sockets(pid)}


def sockets(pid: int) -> set[str]:
    """Local addresses of a process's listening TCP sockets, both families."""
    targets = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(descriptor.readlink()))
    inodes = {match[1] for target in targets if (match := re.fullmatch(r"socket:\[(\d+)\]", target))}
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == LISTEN and row[9] in inodes}
