"""What the guide to signed bundles says, typed as it stands there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.shipped import folder
from tests.e2e.conftest import ROOT
from tests.e2e.test_guides import blocks


@pytest.mark.needs("opa", "openssl")
def test_the_guide_to_signed_bundles_holds(tmp_path: Path, component: Callable[[str], str]) -> None:
    shutil.copytree(folder("policies"), tmp_path / "policies")
    path = os.pathsep.join([str(Path(component("opa")).parent), os.environ["PATH"]])
    said = []
    for block in blocks("signed-bundles.md", "sh"):
        done = subprocess.run(
            ["bash", "-euc", f'gw() {{ "{sys.executable}" -m gateway "$@"; }}\n{block}'],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert said[1].count("signed with release") == 2
    assert "signed with release" in said[3]
    assert "content of" in said[4]
    assert (tmp_path / "release.key").stat().st_mode & 0o077 == 0
