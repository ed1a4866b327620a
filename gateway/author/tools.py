"""What OPA's and Regal's own checkers say of a bundle, where they are installed. None of them is needed.

opa fmt            every module is laid out as OPA lays it out
opa check --strict what OPA's compiler refuses, with dmz.input/1 as the type of `input`
regal lint         style and bugs, by the bundle's .regal/config.yaml, else by the product's
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway import shipped
from gateway.author.lint import Finding, Severity
from gateway.model.errors import GatewayError
from gateway.policy import documents
from gateway.policy.bundle import Bundle

TIMEOUT_S = 60.0
"Far more than any of them takes for a policy; beyond it the tool hangs."
RULES = ("core", "base", "site")
REGAL = Path(".regal") / "config.yaml"
MOST_SAID = 500
"Characters of a tool's own words, where it fails."


class Section(Struct, frozen=True, kw_only=True):
    """One tool's word."""

    tool: str
    asked: bool
    "Whether it is installed."
    findings: tuple[Finding, ...] = ()


Ask = Callable[[str, Path, Path], Iterator[Finding]]
"From program, folder of the bundle and configuration of Regal to what it found."


def ask(bundle: Bundle, source: Path) -> list[Section]:
    """Every tool's word. `source` is where the bundle came from: its folder may configure Regal."""
    config = source / REGAL
    config = config if config.is_file() else shipped.folder("policies") / REGAL
    sections = []
    with tempfile.TemporaryDirectory(prefix="dmz-policy-") as name:
        folder = Path(name)
        for path in (*bundle.modules, *(path for path in bundle.tests if path.endswith(".rego"))):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(bundle.files[path])
        for tool, (command, asking) in TOOLS.items():
            program = shutil.which(command)
            found = () if program is None else tuple(asking(program, folder, config))
            sections.append(Section(tool=tool, asked=program is not None, findings=found))
    return sections


def _fmt(program: str, folder: Path, _config: Path) -> Iterator[Finding]:
    _, out, said = _run([program, "fmt", "--fail", "--list", str(folder)])
    for line in out.splitlines():
        yield _finding("opa fmt", _inside(line, folder), "is not laid out as OPA does", "opa fmt --write")
    if said and not out:
        yield _finding("opa fmt", "bundle", said, "")


def _check(program: str, folder: Path, _config: Path) -> Iterator[Finding]:
    schema = folder / "input.json"
    schema.write_text(json.dumps(_united(documents.schema("input").schema)))
    rules = [str(folder / name) for name in RULES if (folder / name).is_dir()]
    strict = [program, "check", "--strict", "--format", "json"]
    seen = set()
    for command in ([*strict, "--schema", str(schema), *rules], [*strict, str(folder)]):
        code, out, said = _run(command)
        errors = _errors(out or said) if code else []
        for error in errors:
            place = error.get("location") or {}
            where = f"{_inside(str(place.get('file', 'bundle')), folder)}:{place.get('row', 1)}"
            if (where, error["message"]) not in seen:
                seen.add((where, error["message"]))
                yield _finding("opa check", where, str(error["message"]), "")
        if code and not errors:
            yield _finding("opa check", "bundle", (said or out)[:MOST_SAID], "")


def _united(node: Any) -> Any:
    """A schema with `anyOf` for `type: [a, b]`, of which OPA would take one type only."""
    if isinstance(node, list):
        return [_united(item) for item in node]
    if not isinstance(node, dict):
        return node
    said = {name: _united(value) for name, value in node.items()}
    if isinstance(said.get("type"), list):
        return {"anyOf": [{**said, "type": name} for name in said["type"]]}
    return said


def _errors(text: str) -> list[dict[str, Any]]:
    try:
        return [error for error in json.loads(text)["errors"] if "message" in error]
    except (ValueError, KeyError, TypeError):
        return []


def _regal(program: str, folder: Path, config: Path) -> Iterator[Finding]:
    command = [program, "lint", "--format", "json", "--no-color", str(folder)]
    if config.is_file():
        command[2:2] = ["--config-file", str(config)]
    _, out, said = _run(command)
    try:
        violations = json.loads(out).get("violations") or []
    except (ValueError, AttributeError):
        yield _finding("regal lint", "bundle", (said or out)[:MOST_SAID], "")
        return
    for one in violations:
        where = f"{_inside(one['location']['file'], folder)}:{one['location']['row']}"
        yield _finding("regal lint", where, f"{one['title']}: {one['description']}", "")


TOOLS: dict[str, tuple[str, Ask]] = {
    "opa fmt": ("opa", _fmt),
    "opa check": ("opa", _check),
    "regal lint": ("regal", _regal),
}
"Tool -> its program, and how it is asked."


def _finding(tool: str, where: str, what: str, mend: str) -> Finding:
    return Finding(severity=Severity.WARNING, topic=tool, where=where, what=" ".join(what.split()), mend=mend)


def _inside(path: str, folder: Path) -> str:
    return path.removeprefix("file://").removeprefix(f"{folder}/").removeprefix(f"{str(folder)[1:]}/")


def _run(command: list[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GatewayError(f"{command[0]} cannot be run: {error}; leave it out with --no-tools") from None
    return done.returncode, done.stdout.strip(), done.stderr.strip()
