"""The commands of docs/guides/pki.md, pasted into a shell, make every file that deploy/gateway.yaml names."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guides" / "pki.md"
DEPLOYED = ROOT / "deploy" / "gateway.yaml"


def test_the_guides_commands_work_as_they_stand(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    # The command as it is installed, by the interpreter of this test.
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
    assert "revoked historian-1" in done.stdout
    assert "pki/plant/crl.pem: number 2" in done.stdout
    named = set(re.findall(r"\bpki/\S+", re.sub("#.*", "", DEPLOYED.read_text()).replace("]", "")))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (tmp_path / name).is_file()] == []
