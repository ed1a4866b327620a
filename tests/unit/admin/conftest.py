"""The test PKI of tests/pki.py, as fixtures."""

from tests.pki import fresh_pki, pki

__all__ = ["fresh_pki", "pki"]
