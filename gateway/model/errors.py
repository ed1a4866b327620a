"""The exceptions this program raises on purpose.

GatewayError
├── ConfigError          the configuration is wrong; carries every fault found, each with line and mend
├── DataFolderError      the data folder is locked, newer than we are, or not ours
├── PolicyError          a bundle cannot be activated; carries faults with file and line
│   └── UntriedError     nobody knows whether it can: checking it took too long, or was ended
├── IdentityError        a certificate, key or CRL is not usable; says why, never shows key material
└── JournalError         the journal cannot promise what was asked
"""

from msgspec import Struct


class Fault(Struct, frozen=True):
    """One mistake somebody can mend."""

    where: str
    "`gateway.yaml:12`, `policies/site/demo/site.rego:7` …"
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" — {self.mend}" if self.mend else "")


class GatewayError(Exception):
    """Base of all errors that have a meaning here."""


class FaultsError(GatewayError):
    """Base of errors that name several mistakes at once."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(f) for f in faults))


class ConfigError(FaultsError):
    """The configuration is wrong."""


class PolicyError(FaultsError):
    """A policy bundle is refused."""


class UntriedError(PolicyError):
    """A bundle was not used because checking it took too long or was ended: it may pass another time."""


class DataFolderError(GatewayError):
    """The data folder cannot be used."""


class IdentityError(GatewayError):
    """A certificate, key or CRL cannot be used."""


class JournalError(GatewayError):
    """The journal cannot keep its promise."""
