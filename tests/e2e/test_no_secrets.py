"""Secrets are in no record and in no index: every private key of a demo is looked for in what it wrote."""

import os
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.e2e.conftest import ROOT, Demo

LEAST = 32
"Bytes of a secret that are looked for: shorter pieces are found by chance."


def secrets(folder: Path) -> list[bytes]:
    """Each private key as text of its file, as DER, and as its number."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or b"PRIVATE KEY" not in (text := path.read_bytes()):
            continue
        key = load_pem_private_key(text, None)
        found += [line for line in text.splitlines() if len(line) >= LEAST and b"-" not in line]
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        found.append(der)
        numbers = getattr(key, "private_numbers", None)
        if numbers is not None and hasattr(numbers(), "private_value"):
            value = numbers().private_value
            found += [str(value).encode(), f"{value:x}".encode(), value.to_bytes(LEAST, "big")]
    return found


def test_no_private_key_is_in_the_journal_or_the_index(demo: Demo) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", *words], env=env, cwd=ROOT, capture_output=True, timeout=60, check=False
        )

    client = ("gateway.demo.client", "--demo", str(demo.folder))
    for words in (("write", "holding", "0", "650"), ("--as", "view-1", "write", "coil", "1", "1")):
        run(*client, *words)
    run("gateway", "audit", "search", "--data", str(demo.folder / "data"))
    known = secrets(demo.folder)
    assert len(known) > 3, "the demo has keys, or this test looks for nothing"
    written = [path for path in (demo.folder / "data" / "journal").rglob("*") if path.is_file()]
    written.append(demo.folder / "data" / "index.db")
    text = b"".join(path.read_bytes() for path in written)
    assert b'"kind":"intent"' in text
    assert b'"kind":"denial"' in text
    assert not [secret for secret in known if secret in text]
    assert b"PRIVATE KEY" not in text
