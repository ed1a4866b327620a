"""Which requirements the gateway meets, and by which test: one table, and the page that is made of it.

`python -m tests.conformance.modbus_security` runs the tests and writes docs/conformance/modbus-security.md. A
requirement whose test fails, is skipped or does not exist is written as `fail`, whatever the table says.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct

Level = Literal["MUST", "SHOULD", "MAY"]
Verdict = Literal["pass", "fail", "deviation"]

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "conformance" / "modbus-security.md"


class Suite(Struct, frozen=True):
    """A cipher suite as IANA lists it."""

    name: str
    key: Literal["ECDSA", "RSA", "either"]
    "The server key that it is for."
    encryption: str
    mac: str
    "AEAD where the encryption protects integrity itself."
    prf: str
    "The hash that makes the key block, and of the Finished messages."


SUITES: dict[int, Suite] = {
    0x1301: Suite("TLS_AES_128_GCM_SHA256", "either", "AES_128_GCM", "AEAD", "SHA256"),
    0x1302: Suite("TLS_AES_256_GCM_SHA384", "either", "AES_256_GCM", "AEAD", "SHA384"),
    0x1303: Suite("TLS_CHACHA20_POLY1305_SHA256", "either", "CHACHA20", "AEAD", "SHA256"),
    0xC02B: Suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDSA", "AES_128_GCM", "AEAD", "SHA256"),
    0xC02C: Suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDSA", "AES_256_GCM", "AEAD", "SHA384"),
    0xC02F: Suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "RSA", "AES_128_GCM", "AEAD", "SHA256"),
    0xC030: Suite("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "RSA", "AES_256_GCM", "AEAD", "SHA384"),
    0xCCA8: Suite(
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "RSA", "CHACHA20_POLY1305", "AEAD", "SHA256"
    ),
    0xCCA9: Suite(
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDSA", "CHACHA20_POLY1305", "AEAD", "SHA256"
    ),
}
"Every suite that the gateway negotiates, by its number in IANA's registry; a scan holds this."
