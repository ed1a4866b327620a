"""A gateway with reviewers: the real process and its real policy, asked by curl with real certificates."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateway.audit.reader import records
from tests.conftest import unused_port
from tests.faults.site import Site, until
from tests.pki import Credential

IT = "  - {name: it, anchors: pki/it/anchors.pem, crls: [pki/it/crl.pem], crl_grace: 24h}\nlisteners:\n"
SECTION = "review: {{zone: it, port: {port}, certificate: {cert}.pem, key: {cert}.key}}\n"
AUDITOR = "spiffe://demo.example/it/reviewer-1"


class Reviewed(Site):
    """The site of the fault tests, with a reviewers' listener in zone `it`."""

    def __init__(self, folder: Path, curl: str) -> None:
        self.review_port = unused_port()
        cert = "pki/it/issued/review-gw"
        super().__init__(folder, audit="window: 1s", more=SECTION.format(port=self.review_port, cert=cert))
        self.config.write_text(self.config.read_text().replace("listeners:\n", IT))
        self.pki.issue("gateway-server", "it", "review-gw")
        self.auditor = self.pki.issue("it-client", "it", "reviewer-1")
        self.historian = self.pki.issue("it-client", "it", "historian-1")
        self._curl = curl

    def words(self, by: Credential | None, path: str, /, **query: object) -> list[str]:
        """The command that asks."""
        shown = ["--cert", str(by.cert), "--key", str(by.key)] if by is not None else []
        asked = f"{path}?{urlencode(query)}" if query else path
        return [
            self._curl,
            *("--silent", "--show-error", "--max-time", "20", "--cacert", str(self.pki.root), *shown),
            *("--write-out", "\n%{http_code}", f"https://localhost:{self.review_port}/audit/v1/{asked}"),
        ]

    def raw(self, by: Credential | None, path: str, /, **query: object) -> tuple[int, bytes]:
        """Status and body."""
        done = subprocess.run(self.words(by, path, **query), capture_output=True, check=False, timeout=30)
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    def look(self, path: str, /, **query: object) -> dict[str, Any]:
        """What the auditor is shown, as JSON."""
        status, body = self.raw(self.auditor, path, **query)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def stored(self) -> list[tuple[int, bytes]]:
        """Every whole record as it is stored, with its index."""
        return list(records(self.data / "journal"))

    def signed(self, index: int) -> None:
        """Wait until a checkpoint covers that record."""
        note = self.data / "journal" / "checkpoint"
        until("no checkpoint covers it", lambda: int(note.read_text().split("\n")[1]) > index)
