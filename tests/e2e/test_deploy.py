"""What we give people to start from does what its comments say: the commands in them run as they stand."""

import getpass
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli import main
from tests.e2e.conftest import ROOT

DEPLOY = ROOT / "deploy"


def commands_in(file: Path) -> list[list[str]]:
    """The `dmz-gateway …` and `openssl …` lines of a file's comments."""
    lines = re.findall(r"^# +((?:dmz-gateway|openssl) .*)$", file.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the PKI that deploy/gateway.yaml's comments make, and a copy of policies."""
    monkeypatch.chdir(tmp_path)
    commands = commands_in(DEPLOY / "gateway.yaml")
    assert len(commands) == 5
    for words in commands:
        assert main(words[1:]) == 0
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    shutil.copy(DEPLOY / "gateway.yaml", tmp_path)
    return tmp_path


def test_the_configuration_is_right_as_it_stands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "-c", str(place / "gateway.yaml")])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err


def test_the_configuration_for_opcua_is_right_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = commands_in(DEPLOY / "opcua-gateway.yaml")
    assert [words[1:3] for words in commands] == [["pki", "init"], *[["pki", "issue"]] * 5, ["pki", "inbox"]]
    for words in commands[:-1]:
        assert main(words[1:]) == 0
    mes = x509.load_pem_x509_certificates(Path("pki/plant/issued/mes-1.pem").read_bytes())[0]
    Path("plc-2.der").write_bytes(mes.public_bytes(Encoding.DER))  # any application certificate will do here
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    shutil.copy(DEPLOY / "opcua-gateway.yaml", tmp_path)
    capsys.readouterr()
    code = main(["check", "-c", "opcua-gateway.yaml"])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert "opc.tcp://127.0.0.1:4840" in said.out
    assert "1 nodes watched" in said.out
    assert main(commands[-1][1:]) == 2
    assert "the gateway makes it when it starts" in capsys.readouterr().err


@pytest.fixture
def broker(place: Path, free_port: Callable[[], int], component: Callable[[str], str]) -> Iterator[int]:
    """Mosquitto with deploy/mosquitto.conf; only paths, user and port are other ones."""
    for words in commands_in(DEPLOY / "mosquitto.conf"):
        if words[0] == "openssl":
            subprocess.run([w.replace("/etc/dmz", str(place)) for w in words], cwd=place, check=True)
        else:
            assert main(words[1:]) == 0
    port = free_port()
    conf = (DEPLOY / "mosquitto.conf").read_text()
    for old, new in (
        ("/etc/dmz", str(place)),
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("user mosquitto", f"user {getpass.getuser()}"),
        ("log_dest syslog", "log_dest stdout"),
    ):
        assert old in conf
        conf = conf.replace(old, new)
    (place / "mosquitto.conf").write_text(conf)
    shutil.copy(DEPLOY / "broker.acl", place)
    process = subprocess.Popen(
        [component("mosquitto"), "-c", str(place / "mosquitto.conf"), "-v"], stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield port
    process.terminate()
    said = process.communicate()[0].decode()
    assert re.findall(r"Opening ipv[46] listen socket on port (\d+)", said) == [str(port)]


@pytest.mark.needs("mosquitto", "openssl")
def test_the_broker_takes_the_it_zone_and_nobody_else(broker: int, place: Path) -> None:
    def publish(pair: str | None, topic: str) -> str:
        words = ["mosquitto_pub", "-V", "mqttv5", "-h", "localhost", "-p", str(broker), "--insecure"]
        words += ["--cafile", str(place / "pki/root/ca.pem"), "-t", topic, "-m", "1", "-q", "1"]
        if pair:
            words += ["--cert", str(place / f"pki/{pair}.pem"), "--key", str(place / f"pki/{pair}.key")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        return "ok" if done.returncode == 0 and not done.stderr else done.stderr

    assert publish("it/issued/gw-1", "acme/north/x") == "ok"
    assert "Not authorized" in publish("it/issued/gw-1", "acme/other/x")
    assert "Not authorized" in publish("it/issued/historian-1", "acme/north/x")
    for stranger in (None, "plant/issued/gw-1", "plant/issued/hmi-1"):
        said = publish(stranger, "acme/north/x")
        assert said != "ok"
        assert "Not authorized" not in said, "it should not even get in"


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_the_makefile_offers_what_the_readme_says() -> None:
    offered = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named <= set(re.findall(r"^make (\w+)", offered.stdout, re.MULTILINE))
    assert {"demo", "test", "check", "bench"} <= named
