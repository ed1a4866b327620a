"""What the guides for security teams and audit reviewers say, typed as it stands there at a running demo."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import parser
from tests.e2e.conftest import ROOT, Demo

GUIDES = ROOT / "docs" / "guides"
VARIABLES = {"$AS": "10.0.0.7=spiffe://demo.example/plant/hmi-1", "$A": "--data data"}
"What guides keep in a variable that stands for more than one word."
PRELUDE = """
D={world}; PYTHON={python}; LOG={log}
gw() {{ "$PYTHON" -m gateway "$@"; local code=$?; echo "$code $1 $2" >> "$LOG"; return $code; }}
client() {{ "$PYTHON" -m gateway.demo.client --demo "$D" "$@"; }}
jq() {{ cat > "$LOG.jq"; }}
"""


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(
        rf"^ *```{language}\n(.*?)^ *```", (GUIDES / page).read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no {language}"
    return found


class Shell:
    """Types into bash, beside a demo."""

    def __init__(self, demo: Demo, place: Path) -> None:
        self.demo = demo
        self.place = place
        self.log = place / "codes"

    def type(self, text: str) -> dict[str, list[int]]:
        """The exit codes of each `gw` command in it."""
        self.log.write_text("")
        self.output = subprocess.run(
            ["bash", "-c", self._prelude() + text],
            cwd=self.place,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        ).stdout
        codes: dict[str, list[int]] = {}
        for line in self.log.read_text().splitlines():
            code, command = line.split(" ", 1)
            codes.setdefault(command, []).append(int(code))
        return codes

    def number(self, conditions: str) -> str:
        """The number of the newest record that fits."""
        self.type(f"gw audit search --data $D/data {conditions}")
        return self.output.splitlines()[-1].split()[0]

    def _prelude(self) -> str:
        words = {"world": self.demo.folder, "python": sys.executable, "log": self.log}
        return PRELUDE.format(**{name: shlex.quote(str(word)) for name, word in words.items()})


@pytest.mark.needs("mosquitto")
def test_what_the_guides_say_is_done_as_they_say(demo: Demo, tmp_path: Path) -> None:
    place = tmp_path / "desk"
    place.mkdir()
    shell = Shell(demo, place)

    look, why, copy, judge, roll_out = blocks("security-team.md", "sh")
    shell.type("client write holding 1 1000")
    assert set(shell.type(look)) == {"status -c", "policy check", "policy test", "audit search"}
    assert "denied by" in shell.output
    shell.type("client --as view-1 write coil 1 1")
    codes = shell.type(why.replace("NUMBER", shell.number("--who view-1 --decision deny")))
    assert codes == {"audit search": [0], "audit show": [0]}
    assert "grant.none" in shell.output

    shell.type(copy)
    grant, table = blocks("security-team.md", "yaml")
    with (place / "new/data/grants.yaml").open("a") as grants:
        grants.write(f"\n{grant}")
    (place / "new/tests/view.yaml").write_text(table)
    assert shell.type(judge) == {"policy check": [0], "policy test": [1]}
    failing = re.findall(r"^embedded: FAIL \((.*?)\) (\S+)\.yaml", shell.output, re.MULTILINE)
    assert failing == [("denies for other reasons", "tests/demo")] * 2, shell.output
    shell.type(roll_out)
    assert shell.output.count("result activated") >= 2
    shell.type("for on in 1 0 1; do client --as view-1 write coil 1 $on; done")
    assert [line.split()[0] for line in shell.output.splitlines()] == ["written", "written", "exception"]
    assert shell.number("--reason obligation.rate").isdigit()

    shell.type("client write holding 0 650")
    questions, forget, prove, keep = blocks("audit-reviewer.md", "sh")
    codes = shell.type(questions.replace("NUMBER", shell.number("--kind intent")))
    assert codes["audit show"] == codes["audit tail"] == codes["audit verify"] == [0]
    assert set(codes["audit search"]) <= {0, 1}
    assert "plc-1.level_sp = 65 %" in shell.output
    assert shell.type(f"{questions.splitlines()[0]}\n{forget}") == {"audit drop": [1, 1, 1]}, (
        "nothing is sealed"
    )
    assert shell.type(prove + keep) == {"audit verify": [0, 0]}


@pytest.mark.parametrize("page", sorted(GUIDES.glob("*.md")), ids=lambda page: page.name)
def test_every_command_of_a_guide_is_one(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(
        r"^\s*(?:gw|dmz-gateway) (.*)$",
        "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)),
        re.MULTILINE,
    ):
        typed = re.split(r" \||;| &&| >", line)[0]
        for name, instead in VARIABLES.items():
            typed = typed.replace(name, instead)
        words = shlex.split(typed, comments=True)
        parser().parse_args(words)
