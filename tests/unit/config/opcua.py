"""The example with an OPC UA server in the plant, a listener in front of it, and a node as a tag."""

from collections.abc import Callable
from pathlib import Path

import pytest

ASSET = """\
  - name: tank-2
    protocol: opcua
    endpoint: opc.tcp://10.0.0.9:4840/UA/Server
    opcua:
      server_certificate: pki/tank-2.der
      sessions: 5
"""
TAG = """\
  - name: tank-2.level
    asset: tank-2
    path: acme/demo/tank-farm/tank-2/level
    node: nsu=urn:demo.example:tank-farm;s=Tank.Level
    type: float64
    resolution: 0.1
    unit: "%"
"""
DOOR = """\
opcua:
  - name: opcua-north
    port: 14840
    zone: plant
    certificate: pki/plant/issued/ua-1.pem
    key: pki/plant/issued/ua-1.key
    assets: [tank-2]
"""


@pytest.fixture
def opcua_site(site: Callable[..., Path]) -> Callable[..., Path]:
    """A function that writes that configuration with pieces of its text replaced."""
    home = site().parent
    for name in ("pki/tank-2.der", "pki/plant/issued/ua-1.pem", "pki/plant/issued/ua-1.key", "secret"):
        (home / name).touch(0o600)

    def write(*changes: tuple[str, str], more: str = "") -> Path:
        file = site()
        text = file.read_text().replace("tags:    ", f"{ASSET}tags:    ", 1)
        text = text.replace("policy: {", f"{TAG}{DOOR}policy: {{", 1)
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the example"
            text = text.replace(old, new)
        file.write_text(text + more)
        return file

    return write
