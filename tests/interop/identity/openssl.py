"""Authorities, application certificates and revocation lists made by OpenSSL's own tool, right or wrong.

Keys are shared among certificates of one folder: making RSA keys is what would take the time.
"""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

CA = "critical,CA:TRUE"
CA_USAGE = "critical,keyCertSign,cRLSign"
USAGE = "critical,digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment"


@dataclass(frozen=True)
class Made:
    """A certificate and the key that belongs to it."""

    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).public_bytes(Encoding.DER)


@dataclass
class OpenSsl:
    """A folder where certificates are made."""

    dir: Path
    made: int = 0
    revoked: dict[Path, list[str]] = field(default_factory=dict)

    def authority(
        self,
        name: str,
        above: Made | None = None,
        *,
        days: int = 3650,
        constraints: str = CA,
        usage: str = CA_USAGE,
        key: str = "authority",
        digest: str = "sha256",
    ) -> Made:
        """An authority; `key` names one, and one key can be that of several certificates."""
        extensions = {"basicConstraints": constraints, "keyUsage": usage, "subjectKeyIdentifier": "hash"}
        return self._sign(name, self.key(f"{key}-{name}"), above, extensions, days, digest)

    def application(
        self,
        name: str,
        above: Made | None = None,
        *,
        uris: tuple[str, ...] = ("urn:plant.example:app",),
        bits: int = 2048,
        curve: bool = False,
        digest: str = "sha256",
        usage: str | None = USAGE,
        extended: str | None = "serverAuth,clientAuth",
        constraints: str = "critical,CA:FALSE",
        days: int = 365,
    ) -> Made:
        """A certificate of an application instance (OPC 10000-6 §6.2.2) unless the call says otherwise."""
        names = ",".join([*(f"URI:{uri}" for uri in uris), "DNS:localhost"])
        extensions = {"basicConstraints": constraints, "subjectAltName": names}
        if usage is not None:
            extensions["keyUsage"] = usage
        if extended is not None:
            extensions["extendedKeyUsage"] = extended
        return self._sign(name, self.key("leaf", bits, curve), above, extensions, days, digest)

    def crl(self, issuer: Made, *revoked: Made, days: int = 30) -> Path:
        """A revocation list that holds these and all that were revoked before."""
        serials = self.revoked.setdefault(issuer.cert, [])
        serials += [format(x509.load_der_x509_certificate(each.der).serial_number, "X") for each in revoked]
        folder = self.dir / f"{issuer.cert.stem}.db"
        folder.mkdir(exist_ok=True)
        lines = [
            f"R\t401231235959Z\t260101000000Z\t{s if len(s) % 2 == 0 else '0' + s}\tunknown\t/CN=x"
            for s in serials
        ]
        (folder / "index.txt").write_text("".join(line + "\n" for line in lines))
        number = folder / "crlnumber"
        if not number.exists():
            number.write_text("01\n")
        config = folder / "ca.cnf"
        config.write_text(
            "[ca]\ndefault_ca=d\n[d]\n"
            f"database={folder}/index.txt\ncrlnumber={number}\ndefault_md=sha256\n"
            "crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid:always\n"
        )
        out = folder / "crl.pem"
        words: list[str | Path] = [
            "ca",
            "-gencrl",
            "-config",
            config,
            "-keyfile",
            issuer.key,
            "-cert",
            issuer.cert,
        ]
        run(*words, "-crldays", str(days), "-out", out)
        return out

    def key(self, name: str, bits: int = 2048, curve: bool = False) -> Path:
        """The key of that name, made when it is first asked for."""
        path = self.dir / f"{name}-{'curve' if curve else bits}.key".replace(" ", "_")
        if not path.exists():
            kind = ["EC", "ec_paramgen_curve:P-256"] if curve else ["RSA", f"rsa_keygen_bits:{bits}"]
            run("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", path)
        return path

    def _sign(
        self,
        name: str,
        key: Path,
        above: Made | None,
        extensions: dict[str, str],
        days: int,
        digest: str,
    ) -> Made:
        self.made += 1
        at = self.dir / f"{self.made:03}"
        request, ext, cert = at.with_suffix(".csr"), at.with_suffix(".ext"), at.with_suffix(".pem")
        ext.write_text("[e]\n" + "".join(f"{name}={value}\n" for name, value in extensions.items()))
        run("req", "-new", "-key", key, "-out", request, "-subj", f"/O=plant.example/CN={name}")
        by: list[str | Path] = ["-CA", above.cert, "-CAkey", above.key] if above else ["-signkey", key]
        words: list[str | Path] = ["x509", "-req", "-in", request, *by, "-days", str(days), f"-{digest}"]
        run(*words, "-set_serial", str(0x1000 + self.made), "-extfile", ext, "-extensions", "e", "-out", cert)
        return Made(cert, key)


def run(*words: str | Path) -> str:
    """One run of `openssl` that must succeed."""
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
