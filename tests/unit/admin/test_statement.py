"""What a person signs: one form, three kinds of keys, and openssl agrees about each."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from gateway.admin import statement
from gateway.admin.statement import MOST_BYTES, MOST_CERTIFICATE, Statement, StatementError
from gateway.model.errors import IdentityError

SAID = Statement(
    gateway="gw-1",
    request="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    operation="ab" * 32,
    what="write plc-1 (modbus.write_single_register) unit 1 holding 10 = 500 — by näme",
    requester="spiffe://demo.example/plant/hmi-1",
    decision="grant",
    approver="spiffe://demo.example/person/ann",
    issued="2026-11-23T10:00:00Z",
    expires="2026-11-23T10:15:00Z",
)
TEXT = statement.encode(SAID)

KEYS: dict[str, Callable[[], Any]] = {
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def person(folder: Path, key: Any, *, padding: int = 0) -> tuple[Path, bytes]:
    """A key file, and a certificate of that key."""
    pem = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "person.key"
    file.touch(0o600)
    file.write_bytes(pem)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    if padding:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.50316.999")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"x" * padding), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return file, builder.sign(key, algorithm).public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", KEYS)
def test_who_signs_is_believed_and_every_change_is_found(tmp_path: Path, kind: str) -> None:
    key, certificate = person(tmp_path, KEYS[kind]())
    signature = statement.sign(TEXT, key)
    assert statement.check(TEXT, signature, certificate) == SAID
    _, other = person(tmp_path, KEYS[kind]())
    for field in ("gateway", "request", "operation", "what", "requester", "approver", "issued", "expires"):
        changed = "2026-11-23T10:07:00Z" if field in ("issued", "expires") else "x"
        text = statement.encode(replace(SAID, **{field: changed}))
        with pytest.raises(StatementError, match="signature"):
            statement.check(text, signature, certificate)
    for wrong in (b"", signature[:-1], signature + b"\x00"):
        with pytest.raises(StatementError, match="signature"):
            statement.check(TEXT, wrong, certificate)
    with pytest.raises(StatementError, match="signature"):
        statement.check(TEXT, signature, other)


OPENSSL = {
    "p-256": ["dgst", "-sha256", "-verify", "PUBLIC", "-signature", "SIGNATURE", "TEXT"],
    "rsa-2048": [
        *("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"),
        *("-verify", "PUBLIC", "-signature", "SIGNATURE", "TEXT"),
    ],
    "ed25519": [
        *("pkeyutl", "-verify", "-pubin", "-inkey", "PUBLIC", "-rawin", "-in", "TEXT"),
        *("-sigfile", "SIGNATURE"),
    ],
}
"The commands of docs/guides/approvals.md."


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("kind", KEYS)
def test_openssl_verifies_what_was_signed(tmp_path: Path, kind: str) -> None:
    key, certificate = person(tmp_path, KEYS[kind]())
    public = x509.load_der_x509_certificate(certificate).public_key()
    files = {
        "PUBLIC": public.public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "SIGNATURE": statement.sign(TEXT, key),
        "TEXT": TEXT,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    program = shutil.which("openssl")
    assert program is not None
    done = subprocess.run([program, *OPENSSL[kind]], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "TEXT").write_bytes(TEXT.replace(b"500", b"900"))
    assert subprocess.run(
        [program, *OPENSSL[kind]], cwd=tmp_path, capture_output=True, check=False
    ).returncode


ODD_TEXTS = {
    "space": TEXT.replace(b",", b", ", 1),
    "order": b'{"what":"x",' + TEXT[1:],
    "unknown": TEXT[:-1] + b',"zzz":1}',
    "twice": TEXT[:-1] + b',"what":"x"}',
    "escaped": TEXT.replace(b"gw-1", b"gw\\u002d1"),
    "schema": TEXT.replace(b"dmz.approval/1", b"dmz.approval/2"),
    "decision": TEXT.replace(b'"grant"', b'"maybe"'),
    "missing": TEXT.replace(b'"gateway":"gw-1",', b""),
    "time": TEXT.replace(b"10:00:00Z", b"10:00:00+00:00"),
    "no such day": TEXT.replace(b"2026-11-23T10:00", b"2026-13-23T10:00"),
    "backwards": TEXT.replace(b"10:15", b"09:15"),
    "bytes": TEXT.replace(b"gw-1", b"gw-\xff"),
    "nothing": b"",
    "long": TEXT.replace(b"gw-1", b"g" * MOST_BYTES),
}


@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_a_text_in_any_other_form_proves_nothing_even_signed(tmp_path: Path, odd: str) -> None:
    key, certificate = person(tmp_path, KEYS["ed25519"]())
    text = ODD_TEXTS[odd]
    assert text != TEXT
    with pytest.raises(StatementError):
        statement.check(text, statement.sign(text, key), certificate)


def test_weak_and_odd_keys_prove_nothing(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 # that is the point
    key, certificate = person(tmp_path, weak)
    with pytest.raises(StatementError, match="2048"):
        statement.check(TEXT, statement.sign(TEXT, key), certificate)
    odd = dsa.generate_private_key(1024)  # noqa: S505
    key, certificate = person(tmp_path, odd)
    with pytest.raises(StatementError, match="neither"):
        statement.sign(TEXT, key)
    with pytest.raises(StatementError):
        statement.check(TEXT, odd.sign(TEXT, hashes.SHA256()), certificate)


def test_a_certificate_that_would_not_stand_whole_in_a_record_is_refused(tmp_path: Path) -> None:
    key, certificate = person(tmp_path, KEYS["ed25519"](), padding=MOST_CERTIFICATE)
    with pytest.raises(StatementError, match="longer"):
        statement.check(TEXT, statement.sign(TEXT, key), certificate)
    with pytest.raises(StatementError, match="read"):
        statement.check(TEXT, b"", b"no certificate")


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    key, _ = person(tmp_path, KEYS["ed25519"]())
    key.chmod(0o644)
    with pytest.raises(IdentityError, match="open to others"):
        statement.sign(TEXT, key)
