"""A running gateway is told to forget somebody, and what it forgot is nowhere in its data folder."""

from pathlib import Path

import pytest

from gateway.audit.reader import records
from gateway.cli import main

from .site import Site

SOMEBODY = "127.0.0.99"
AUDIT = "sensitive: {fields: [people, addresses, values]}"


def holding(folder: Path, text: str) -> set[str]:
    """Names of the files that hold it, whatever else they are."""
    files = (each for each in folder.rglob("*") if each.is_file())
    return {each.name for each in files if text.encode() in each.read_bytes()}


def test_a_running_gateway_forgets_on_order_and_every_proof_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", str(tmp_path / "data"))
    with Site(tmp_path, audit=AUDIT) as site:
        site.run()
        hmi = site.client("hmi-1", SOMEBODY)
        assert hmi.write(10, 54_321)[:1] == b"\6"
        hmi.close()
        assert main(["audit", "search", "--who", SOMEBODY, "--action", "write", *data]) == 0
        said = capsys.readouterr().out
        assert SOMEBODY in said
        assert "= [54321]" in said
        assert main(["audit", "search", "--changed-to", "54321", *data]) == 0
        capsys.readouterr()
        assert "index.db" in holding(site.data, SOMEBODY)

        assert main(["audit", "drop", "--subject", SOMEBODY, *data]) == 0
        assert "records: dropped" in capsys.readouterr().out
        assert holding(site.data, SOMEBODY) == set()
        assert main(["audit", "search", "--who", SOMEBODY, *data]) == 1
        assert main(["audit", "search", "--changed-to", "54321", *data]) == 1
        capsys.readouterr()
        intent = next(n for n, raw in records(site.data / "journal") if b'"modbus.write' in raw)
        assert main(["audit", "show", str(intent), *data]) == 0
        said = capsys.readouterr().out
        assert "from (dropped) wrote holding 10 = (dropped) on plc-1" in said
        assert "is in the checkpoint of" in said
        assert main(["audit", "verify", "--json", *data]) == 0
        assert '"unopened": 0' in capsys.readouterr().out

        hmi = site.client("hmi-1")  # and it goes on
        assert hmi.write(10, 7)[:1] == b"\6"
        hmi.close()
        site.end()
    assert main(["audit", "verify", *data]) == 0
