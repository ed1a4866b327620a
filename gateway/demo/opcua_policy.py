"""What the demo's policy says about OPC UA, laid over the shipped bundle, which knows Modbus alone."""

import importlib.resources
from pathlib import Path

WRITABLE = """\
    plc-2:
      nodes: ["nsu=urn:demo.example:tank-farm;s=Tank", "nsu=urn:demo.example:tank-farm;s=Tank.LevelSetpoint"]
      methods: ["nsu=urn:demo.example:tank-farm;s=Tank.StartBatch"]
"""

CONDUITS = """\
  - {from: plant, to: plant, protocols: [opcua]}
  - {from: gateway, to: plant, protocols: [opcua]}
"""

BEHIND: tuple[tuple[str, str, str], ...] = (
    # file, a line of it, what comes behind that line
    ("assets.yaml", "  meter-1: {kind: meter, zone: plant}\n", "  plc-2: {kind: plc, zone: plant}\n"),
    ("bounds.yaml", "      coil: [[0, 1]]\n", WRITABLE),
    ("bounds.yaml", "  limits: ", "    plc-2.level_sp: {min: 50, max: 950}\n"),
    ("conduits.yaml", "  - {from: gateway, to: plant, ", CONDUITS),
    (
        "role_bindings.yaml",
        "  spiffe://demo.example/plant/hmi-1: ",
        "  urn:demo.example:plant:mes-1: [mes]\n",
    ),
)


def lay_over(data: Path) -> None:
    """Add to the copied data of a bundle."""
    for name, begins, more in BEHIND:
        lines = (data / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (place,) = (number for number, line in enumerate(lines, 1) if line.startswith(begins))
        lines.insert(place, more)
        (data / name).write_text("".join(lines), encoding="utf-8")
    grants = importlib.resources.files("gateway.demo").joinpath("templates", "opcua_grants.yaml")
    with (data / "grants.yaml").open("a", encoding="utf-8") as file:
        file.write(grants.read_text(encoding="utf-8"))
