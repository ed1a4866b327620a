"""A data folder put back to yesterday's copy, with a receiver that saw today: real processes."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.audit.note import opened
from gateway.audit.signer import Signer
from tests.faults.site import ROOT, Site, until

ORIGIN = "demo.example/gw-1"


def settings(port: int, file: Path | None = None) -> str:
    own = "pki/plant/issued/gw-1"
    shown = f"anchors: pki/it/anchors.pem, certificate: {own}.pem, key: {own}.key"
    beside = f", file: {file}" if file is not None else ""
    return f"offbox: {{every: 200ms, https: {{host: localhost, port: {port}, {shown}}}{beside}}}"


@contextmanager
def receiving(site: Site, port: int) -> Iterator[Path]:
    """`dmz-gateway audit receive`, as on another host; where it keeps what it got."""
    if not (site.pki.dir / "it/issued/keeper.pem").exists():
        site.pki.issue("it-server", "it", "keeper")
    own, state = site.pki.dir / "it/issued/keeper", site.folder / "receiver"
    vkey = Signer.load(site.pki.dir / "plant/issued/log-1.key", ORIGIN).vkey
    command = [sys.executable, "-m", "gateway", "audit", "receive", "--listen", f"127.0.0.1:{port}"]
    command += ["--certificate", f"{own}.pem", "--key", f"{own}.key", "--state", str(state), "--vkey", vkey]
    command += ["--anchors", str(site.pki.anchors("plant")), "--crl", str(site.pki.crl("plant"))]
    with (site.folder / "receiver.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=site.folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    try:
        yield state
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def offbox(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = site.status()["offbox"]
    return found


def signed_size(site: Site) -> int:
    key = Signer.load(site.pki.dir / "plant/issued/log-1.key", ORIGIN).verifier
    return opened((site.data / "journal/checkpoint").read_bytes(), key).size


def write(site: Site, value: int) -> bytes:
    client = site.client("hmi-1")
    answer = client.write(12, value)
    client.close()
    return answer


REFUSED = b"\x86"


def test_yesterdays_copy_is_not_signed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with Site(tmp_path, audit=settings(port)) as site, receiving(site, port):
        site.run()
        until("it is known", lambda: offbox(site)["rollback"] == "detectable")
        assert write(site, 1)[:1] != REFUSED
        site.end()
        shutil.copytree(site.data, tmp_path / "yesterday")

        site.run()
        until("it is known again", lambda: offbox(site)["rollback"] == "detectable")
        assert write(site, 2)[:1] != REFUSED
        site.end()
        today = signed_size(site)

        shutil.rmtree(site.data)
        shutil.copytree(tmp_path / "yesterday", site.data)
        before = (site.data / "journal/checkpoints").read_bytes()
        site.run()
        until("the rollback is found", lambda: offbox(site)["rollback"] == "found")
        assert f"saw {today} records" in offbox(site)["why"]
        assert site.status()["journal"]["held"] == offbox(site)["why"]
        assert "ALARM: log_rolled_back" in site.log_text()
        assert write(site, 3)[:1] == REFUSED
        refused = site.wait_record("the finding", lambda r: r["kind"] == "finding")
        assert refused["note"]["alarm"] == "log_rolled_back"
        view = site.client("view-1")
        assert view.read(30)[:1] == b"\x03", "reads go on"
        site.end()
        assert (site.data / "journal/checkpoints").read_bytes() == before, "nothing was signed"


def test_nothing_is_signed_until_the_receiver_has_answered(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port, file = free_port(), tmp_path / "mount" / "gw-1.checkpoints"
    file.parent.mkdir()
    with Site(tmp_path, audit=settings(port, file)) as site:
        site.run()
        until("the silence is told", lambda: "checkpoint_receiver_silent" in site.log_text())
        assert offbox(site)["rollback"] == "not known yet"
        assert write(site, 1)[:1] == REFUSED
        assert not (site.data / "journal/checkpoint").exists()
        with receiving(site, port) as state:
            until("one of two is not enough", lambda: offbox(site)["receivers"][0]["seen"] is not None)
            assert offbox(site)["rollback"] == "not known yet"
            file.touch()
            until("it is known", lambda: offbox(site)["rollback"] == "detectable")
            assert write(site, 1)[:1] != REFUSED
            site.end()
            newest = (site.data / "journal/checkpoint").read_bytes()
            (kept,) = state.iterdir()
            assert kept.read_bytes().endswith(newest), "the last one, too"
            assert file.read_bytes().endswith(newest)
            (tmp_path / "newest").write_bytes(newest)
            kept_elsewhere = ["--checkpoint", str(tmp_path / "newest")]
            held = site.cli("audit", "verify", "--data", str(site.data), *kept_elsewhere)
            assert held.returncode == 0
            assert "rollback" not in held.stdout


def test_without_a_receiver_status_and_verify_say_that_a_rollback_is_undetectable(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.run()
        assert offbox(site)["rollback"] == "undetectable"
        site.end()
        assert "rollback: undetectable" in site.cli("audit", "verify", "--data", str(site.data)).stdout
