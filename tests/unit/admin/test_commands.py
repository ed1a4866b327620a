"""The commands where something is wrong: options, addresses, and gateways that answer oddly."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import cli
from tests.pki import Credential, Pki
from tests.unit.admin.people import Site, issued, write


@pytest.fixture
def ann(pki: Pki) -> Credential:
    return issued(pki, "person", "it", "admin-ann")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAY", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"DMZ_{name}", raising=False)


@contextmanager
def odd_gateway(pki: Pki, answer: Any, status: int = 200) -> Iterator[str]:
    """Something with the gateway's certificate that answers everything alike."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 # the name that http.server asks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = issued(pki, "gateway-server", "it", "admin-gw")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as place:
        place.socket = context.wrap_socket(place.socket, server_side=True)
        thread = threading.Thread(target=place.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{place.server_port}"
        finally:
            place.shutdown()
            thread.join()


def run(pki: Pki, who: Credential, url: str, *words: str) -> int:
    options = ("--gateway", url, "--ca", pki.root, "--cert", who.cert, "--key", who.key)
    return cli.main([*words, *map(str, options)])


def test_what_is_missing_is_named_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["approvals", "list", "--ca", "x"]) == 2
    told = capsys.readouterr().err
    assert "--gateway (or $DMZ_GATEWAY)" in told
    assert "DMZ_CA" not in told


def test_variables_do_for_options(
    pki: Pki, ann: Credential, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with odd_gateway(pki, {"gateway": "gw-1", "approvals": []}) as url:
        for name, value in (("GATEWAY", url), ("CA", pki.root), ("CERT", ann.cert), ("KEY", ann.key)):
            monkeypatch.setenv(f"DMZ_{name}", str(value))
        assert cli.main(["approvals", "list"]) == 0
    assert capsys.readouterr().out == "nothing waits\n"


def test_the_address_may_come_from_the_configuration(
    pki: Pki, ann: Credential, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.yaml"
    words = ["windows", "list", "-c", str(config)]
    options = [*words, "--ca", str(pki.root), "--cert", str(ann.cert), "--key", str(ann.key)]
    config.write_text("gateway: {name: gw-1}\n")
    assert cli.main(options) == 2
    assert "no section `admin`" in capsys.readouterr().err
    with odd_gateway(pki, {"windows": [], "on_request": {"visit": 60}}) as url:
        port = url.rpartition(":")[2]
        config.write_text(f"admin: {{host: localhost, port: {port}, zone: it}}\n")
        assert cli.main(options) == 0
    assert capsys.readouterr().out == "visit can be opened for at most 60 minutes\n"


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "https://", "https://h:x", "https://h/path", "localhost:1"]
)
def test_an_address_that_is_none_is_refused(
    pki: Pki, ann: Credential, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pki, ann, url, "mode", "show") == 2
    assert "dmz-gateway:" in capsys.readouterr().err


def test_nobody_there(pki: Pki, ann: Credential, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pki, ann, "https://127.0.0.1:1", "mode", "show") == 2
    assert "refused" in capsys.readouterr().err


ODD: list[tuple[Any, int, int]] = [
    (b"<html>", 200, 2),
    (b"\xff", 200, 2),
    ([], 200, 2),
    ({}, 200, 2),
    ({"approvals": None}, 200, 2),
    ({"approvals": [{}]}, 200, 2),
    ({"detail": "no", "code": "denied", "reasons": "x"}, 403, 1),
    ({}, 500, 1),
]


@pytest.mark.parametrize(("answer", "status", "exit_code"), ODD)
def test_odd_answers_are_a_message_and_no_traceback(
    pki: Pki, ann: Credential, answer: Any, status: int, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with odd_gateway(pki, answer, status) as url:
        assert run(pki, ann, url, "approvals", "list") == exit_code
    assert capsys.readouterr().err.startswith("dmz-gateway: ")


def test_a_gateway_that_contradicts_itself_shows_nothing_to_sign(
    pki: Pki, ann: Credential, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(pki, tmp_path)
    site.ask(site.hmi, write(500))
    listed = site.approvals.recent(1, site.clock())
    listed[0]["what"] = "nothing of importance"
    with odd_gateway(pki, {"gateway": "gw-1", "approvals": listed}) as url:
        assert run(pki, ann, url, "approvals", "grant", listed[0]["request"], "--yes") == 2
    told = capsys.readouterr()
    assert "sign nothing" in told.err
    assert told.out == ""


def test_words_of_others_do_not_steer_the_terminal(
    pki: Pki, ann: Credential, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(pki, tmp_path)
    site.ask(site.hmi)
    listed = site.approvals.recent(1, site.clock())
    listed[0]["what"] = "harmless\x1b[2J\r\n"
    with odd_gateway(pki, {"gateway": "gw-1", "approvals": listed}) as url:
        assert run(pki, ann, url, "approvals", "list") == 0
        assert run(pki, ann, url, "approvals", "grant", "no-such", "--yes") == 2
    assert "\x1b" not in capsys.readouterr().out
