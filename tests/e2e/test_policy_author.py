"""The guide for policy authors, typed as it stands there beside a demo; what it prints is compared."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.e2e import shift
from tests.e2e.conftest import ROOT, Demo

GUIDES = ROOT / "docs" / "guides"
PRELUDE = """
D={world}; GUIDES={guides}
gw() {{ {python} -m gateway "$@"; }}
client() {{ {python} -m gateway.demo.client --demo "$D" "$@"; }}
"""


def steps(page: str) -> list[tuple[str, list[str]]]:
    """Each block of commands, and the lines that are told to come out of it."""
    found = re.findall(r"^```(sh|text)\n(.*?)^```", (GUIDES / page).read_text(), re.MULTILINE | re.DOTALL)
    told: list[tuple[str, list[str]]] = []
    for language, body in found:
        if language == "sh":
            told.append((body, []))
        else:
            told[-1][1].extend(body.splitlines())
    return told


def fits(wanted: str, line: str) -> bool:
    """Whether a line is as told; `…` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, wanted.strip().split("…"))), line.strip()) is not None


def missing(told: list[str], output: str) -> list[str]:
    """What was told and did not come, in order."""
    lines = iter(output.splitlines())
    return [wanted for wanted in told if not any(fits(wanted, line) for line in lines)]


def test_the_guide_for_policy_authors_holds(demo: Demo, tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    words = {"world": demo.folder, "guides": GUIDES, "python": sys.executable}
    prelude = PRELUDE.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
    typed = steps("policy-author.md")
    assert len(typed) > 10
    mark = "--- end of a block ---"
    script = f"\necho '{mark}'\n".join([prelude, *(block for block, _ in typed)])
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=desk,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    printed = done.stdout.split(mark + "\n")[1:]
    assert done.returncode == 0, f"{typed[len(printed) - 1][0]}\n{printed[-1]}"
    for (block, told), output in zip(typed, printed, strict=True):
        assert missing(told, output) == [], f"{block}\n{output}"


def test_the_capture_is_what_its_program_writes(tmp_path: Path) -> None:
    assert shift.write(tmp_path / "shift.pcap").read_bytes() == (GUIDES / "shift.pcap").read_bytes()
