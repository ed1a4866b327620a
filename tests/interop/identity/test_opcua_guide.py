"""The commands of docs/guides/opcua-certificates.md, pasted into a shell, make what the page says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from gateway import identity
from gateway.cli import main
from gateway.config.settings import Zone
from gateway.identity.application import raw
from gateway.identity.applications import Admitted, Applications
from gateway.identity.trust import ZoneTrust
from tests.pki import Pki, moment

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guides" / "opcua-certificates.md"


@pytest.mark.needs("openssl")
def test_the_guides_commands_work_as_they_stand(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    (tmp_path / "data" / "trust" / "plant" / "trusted").mkdir(parents=True)  # as a gateway leaves it
    shell = f'set -e\ndmz-gateway() {{ "{sys.executable}" -m gateway "$@"; }}\n' + "".join(blocks)
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for printed in ("urn:plant-a.example:plant:gw-ua", "plant  approved", "added operator", "operator\n"):
        assert printed in done.stdout
    pki = tmp_path / "pki" / "plant"
    zone = ZoneTrust(Zone(name="plant", anchors=pki / "anchors.pem", crls=(pki / "crl.pem",)))
    applications = Applications(zone, tmp_path / "data" / "trust" / "plant")
    for file, uri in (
        (pki / "issued" / "uaexpert.pem", "urn:pc-7:UnifiedAutomation:UaExpert"),
        (tmp_path / "client.pem", "urn:pc-7:client"),
    ):
        chain = b"".join(raw(each) for each in x509.load_pem_x509_certificates(file.read_bytes()))
        admitted = applications.admit(chain, moment())
        assert isinstance(admitted, Admitted)
        assert admitted.identity.subject == uri
    for name in ("gw-ua.der", "plant-ca.der", "root-ca.der"):
        x509.load_der_x509_certificate((tmp_path / name).read_bytes())
    for name in ("plant-ca.crl", "root-ca.crl"):
        x509.load_der_x509_crl((tmp_path / name).read_bytes())


def test_the_guide_names_every_code_of_a_refusal() -> None:
    package = Path(identity.__file__).parent
    source = "".join((package / name).read_text() for name in ("application.py", "chain.py"))
    codes = set(re.findall(r'Unfit\(\s*f?"([a-z_{.}]+)"', source)) | set(
        re.findall(r'Refused\(f?"([a-z_{.}]+)"', source)
    )
    codes = {code.replace("{prefix}", "").replace("{self.prefix}", "") for code in codes}
    assert {"unreadable", "chain_incomplete", "expired", "crl_missing", "no_name", "issuer_usage"} <= codes
    told = set(re.findall(r"`([a-z_]+)`", GUIDE.read_text().split("### When a certificate is refused")[1]))
    assert codes <= told


@pytest.mark.needs("node-opcua")
def test_node_opcua_wants_the_list_beside_each_authority(tmp_path: Path) -> None:
    """What the guide says of it, asked of its own certificate store."""
    assert main(["pki", "init", "--dir", str(tmp_path / "pki"), "--trust-domain", "plant.example"]) == 0
    Pki(tmp_path / "pki").issue("opcua-application", "plant", "gw-ua")
    program = tmp_path / "ask.cjs"
    program.write_text(ASK)
    done = subprocess.run(
        ["node-opcua", program, tmp_path], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = next(line for line in done.stdout.splitlines() if line.startswith("{"))  # it warns beside it
    assert json.loads(told) == {
        "leaf": "BadCertificateChainIncomplete",
        "authorities": "BadCertificateIssuerRevocationUnknown",
        "lists": "BadCertificateUntrusted",
        "lists leaf": "Good",
    }


ASK = """
const fs = require("fs"), path = require("path");
const { OPCUACertificateManager } = require("node-opcua");
const folder = process.argv[2];
const der = (name) => Buffer.from(fs.readFileSync(path.join(folder, "pki", name), "ascii")
  .replace(/-----END[^]*/, "").replace(/-----BEGIN.*/, ""), "base64");
(async () => {
  const told = {};
  for (const has of ["leaf", "authorities", "lists", "lists leaf"]) {
    const store = new OPCUACertificateManager({
      rootFolder: path.join(folder, has.replace(" ", "-")), automaticallyAcceptUnknownCertificate: false,
    });
    await store.initialize();
    for (const zone of ["plant", "root"]) {
      if (has !== "leaf") await store.addIssuer(der(`${zone}/ca.pem`), false, false);
      if (has.includes("lists")) await store.addRevocationList(der(`${zone}/crl.pem`));
    }
    const leaf = der("plant/issued/gw-ua.pem");
    if (has.includes("leaf")) await store.trustCertificate(leaf);
    told[has] = (await store.verifyCertificate(leaf)).toString();
    await store.dispose();
  }
  console.log(JSON.stringify(told));
})();
"""
