"""What the demo prints to be pasted, pasted into a shell somewhere else; and its client, typed wrongly.

And what the guide for IT teams says to do in the demo's folder.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.demo import client
from gateway.demo.say import what_to_try
from gateway.demo.world import World
from tests.e2e.conftest import ROOT, Demo

WRONG = {
    "write holding 0 70000": "70000 is not within 0 … 65535",
    "write holding 0 -1": "-1 is not within 0 … 65535",
    "write input 0 1": "nobody can write input",
    "write holding 0" + 200 * " 1": "format requires",
    "read holding 70000 1": "70000 is not within 0 … 65535",
    "read holding 0 3000": "count 3000",
    "--unit 300 read holding 0 1": "300 is not within 0 … 255",
    "--as nobody read holding 0 1": "nobody is called nobody; there are hmi-1, ",
    "--demo nowhere read holding 0 1": "no demo runs in nowhere",
}


GUIDE = ROOT / "docs" / "guides" / "it-first-value.md"


class Shell:
    """Pastes commands, each after the first block that the demo prints."""

    def __init__(self, demo: Demo, place: Path) -> None:
        world = World(demo.folder)
        world.ports = demo.facts["ports"]
        text = what_to_try(world)
        lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
        last = next(number for number, line in enumerate(lines) if line.startswith("it()"))
        self.prelude, self.lines = lines[: last + 1], lines[last + 1 :]
        self.place = place

    def printed(self, begins: str) -> tuple[int, str]:
        """Paste the first printed line that begins so."""
        return self.type(next(line for line in self.lines if line.startswith(begins)))

    def type(self, command: str) -> tuple[int, str]:
        """Its exit code and all that it said."""
        done = subprocess.run(
            ["bash", "-c", "\n".join((*self.prelude, command))],
            cwd=self.place,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout


def as_the_guide_says(demo: Demo) -> None:
    """Its first commands and its program, in the folder it names, with the port that the demo printed."""
    text = GUIDE.read_text().replace(":8443", f":{demo.facts['ports']['https']}")
    curl = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[:2])
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=demo.folder, capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout

    tag = json.loads(run("bash", "-c", curl))
    assert (tag["name"], tag["quality"]) == ("plc-1.level", "good")
    assert " % 2" in run(sys.executable, "-c", program)
    refused = run("bash", "-c", curl.replace("curl ", "curl -s -o /dev/null -w '%{http_code}' -X GET -d x "))
    assert refused == "413"


def as_people_do(shell: Shell) -> None:
    """The printed commands of people and of who writes policy, in their order, with the ids that came."""

    def paste(begins: str, code: int, says: str = "", **ids: str) -> str:
        line = next(line for line in shell.lines if line.startswith(begins))
        for placeholder, known in ids.items():
            line = line.replace(placeholder, known)
        done, said = shell.type(line)
        assert (done, says in said) == (code, True), f"{line}: {said}"
        return said

    paste("client write holding 0 700", 0, "written")
    paste("client write holding 0 930", 1)
    first = paste("gw audit search --data $D/data --decision deny --limit 1", 0).splitlines()[0]
    record = json.loads(first)["record"]  # what follows is where the next page begins
    paste("gw policy explain ID", 0, "DENIED", ID=record["id"])
    paste("gw policy explain --who-may", 0, "operator-level-setpoint")
    paste("cp -r $D/policies $D/new", 0)
    paste("gw policy replay", 0, "0 would be allowed that were denied, 1 denied that were allowed")
    paste("gw policy learn", 0, "nothing is in force")
    paste("person lea windows open", 0, "vendor-access is open until")
    paste("client --as vendor-1", 1)
    listed = paste("person lea approvals list", 0, "pending")
    paste("person lea approvals grant", 0, "granted, once", ID=listed.split()[0])
    paste("client --as vendor-1", 0, "written")
    paste("client --as vendor-1", 1)
    paste("person sam break-glass --minutes", 0)
    paste("client --as sam", 0, "written")
    paste("person sam break-glass end", 0)
    paste("person pat mode listener modbus-north observe", 0, "observe")
    paste("person pat mode listener modbus-north enforce", 0, "enforce")
    paste("person lea mode plant maintenance", 0, "plant mode maintenance")
    paste("person pat policy activate", 0, "ON TRIAL")
    paste("person pat policy confirm", 0, "is confirmed")


@pytest.mark.needs("mosquitto", "curl", "openssl")
def test_what_it_prints_works_in_any_folder(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    shell = Shell(demo, place)
    code, said = shell.printed("client read holding 10 10")
    assert (code, len(said.split())) == (0, 10), said
    assert shell.printed("gw status")[0] == 0
    code, said = shell.printed("opcua read")
    assert (code, len(said.splitlines())) == (0, 2), said
    assert shell.printed("opcua write") == (1, "written\nBadUserAccessDenied\n")
    assert shell.printed("opcua call") == (1, "120.0\nBadUserAccessDenied\n")
    code, said = shell.printed("openssl s_client")
    assert code == 0
    assert "alert certificate required" in said
    code, said = shell.printed("curl ")
    assert code != 0
    assert "alert" in said, "without a certificate: why, not silence"
    code, said = shell.type("client write holding 0 70000")
    assert code == 2
    assert "Traceback" not in said
    code, said = shell.type("client read holding 65535 10")
    assert (code, said) == (1, "exception 02: illegal data address\n")
    as_the_guide_says(demo)
    as_people_do(shell)
    for typed, told in WRONG.items():
        with pytest.raises(SystemExit) as end:
            client.main(["--demo", str(demo.folder), *typed.split()])
        assert end.value.code == 2
        assert told in capsys.readouterr().err
