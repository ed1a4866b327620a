"""A bundle: Rego, data and tests in a folder or an archive, read whole and named by its digest.

    core/  base/  site/<plant>/   Rego modules: the product's, the plant group's, the plant's
    data/                         YAML 1.2 or JSON; each top-level name is one document of `data`
    tests/                        Rego tests, and YAML tables of questions and expected answers
    release.json                  serial and times, where it was released (`release`)

Reading refuses what two readers could understand differently: duplicate keys, numbers that are not JSON,
one document in two files, Rego or data outside its folder, names that OPA takes for something else. Whether
the content is safe is the loader's question. A bundle that was written by `write_to` is read again like any
other, and is an OPA bundle too. An archive holds besides what OPA reads: `data.json`, `.manifest`, perhaps
`.signatures.json`; the first two must say exactly what we make of the files, so that nobody's OPA decides by
other data than we do.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from gateway.model.errors import Fault, PolicyError
from gateway.policy import archive, index
from gateway.policy import release as releases
from gateway.policy.release import Release

FOLDERS = ("core", "base", "site", "data", "tests")
"Whatever else lies in the folder (schemas, a README) is no part of the bundle."
STAMP = "bundle"
"The document under which engines find the revision."
OWN = (STAMP, index.DOCUMENT)
"Documents that the gateway adds; no data file may use the names."
DATA, MANIFEST, SIGNATURES = "data.json", ".manifest", ".signatures.json"
"What stands beside the files in an archive: the data as engines get it, OPA's manifest, OPA's signatures."
OPAS = ("data.json", "data.yaml", "data.yml", "patch.json", "plan.json", "signatures.json")
"""Last names that OPA takes for something of its own in any folder: data without our checks, changes to it, a
compiled plan, signatures (those by their ending)."""
MOST_BYTES = 64 * 1024 * 1024
"A bundle larger than this is refused before it can exhaust the machine: 100 times a large estate's data."
MOST_FILES = 2_000
"More files than this are not a policy but a wrong folder."
MOST_VALUES = 2_000_000
"Values in one data file. YAML aliases make ten thousand million of a few lines, and that is meant as harm."

NO_CORE = Fault("core", "there is no core policy", "copy core/ from the product")

UNFINISHED = ("~", ".part", ".new", ".tmp", ".bak", ".swp", ".orig")
"Endings of files that an editor leaves for a moment; they are no part of the bundle."

_REGO, _DATA = (".rego",), (".yaml", ".yml", ".json")


class Bundle(Struct, frozen=True, kw_only=True):
    """What was read."""

    revision: str
    "SHA-256 over names and contents, lower-case hex."
    files: dict[str, bytes]
    "Every file of the bundle by its path in it."
    modules: dict[str, str]
    "Rego of core, base and site."
    tests: dict[str, str]
    "Rego and YAML under tests/."
    data: dict[str, Any]
    origins: dict[str, str]
    "Document -> the file that it comes from."
    release: Release | None = None
    "What `release.json` says, where there is one."

    def stamped(self) -> dict[str, Any]:
        """The data with the revision, so that an answer says which bundle gave it.

        Without the index of grants: for Rego tests, which put other grants in place of the bundle's.
        """
        return {**self.data, STAMP: {"revision": self.revision}}

    def indexed(self) -> dict[str, Any]:
        """The data as engines get it for deciding: with revision and index. The data must fit its schema."""
        return {**self.stamped(), index.DOCUMENT: index.grant_index(self.data["grants"])}

    def where(self, path: tuple[str | int, ...]) -> str:
        """File and line of a place in the data."""
        name = self.origins.get(str(path[0])) if path else None
        return "data" if name is None else f"{name}:{line_of(self.files[name].decode(), path)}"

    def released(self, release: Release) -> "Bundle":
        """The same content under another release, so of another revision."""
        files = {**self.files, releases.FILE: release.encode()}
        return replace(self, files=files, revision=digest(files), release=release)

    def members(self) -> dict[str, bytes]:
        """What stands in an archive but for signatures. The data must fit its schema."""
        data = self.indexed()
        roots = sorted({*data, "dmz", "base", "site", "tests"})
        manifest = {"revision": self.revision, "roots": roots, "rego_version": 1}
        return {
            **self.files,
            DATA: json.dumps(data, allow_nan=False).encode(),
            MANIFEST: json.dumps(manifest).encode(),
        }

    def write_to(self, folder: Path) -> None:
        """Write a bundle that was loaded, so that both we and OPA (`opa run --bundle`) can load it again."""
        for name, content in self.members().items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def read(place: Path) -> Bundle:
    """Read a folder or an archive. Raises PolicyError with every fault found, each with its file and line."""
    if place.is_file():
        return from_members(archive.read(place))
    files, faults = _gather(place)
    return _bundle(files, faults, lambda bundle: _manifest(place, bundle.revision))


def from_members(members: Mapping[str, bytes]) -> Bundle:
    """A bundle of the members of an archive. Raises PolicyError, also where a member is no part of one."""
    beside = (DATA, MANIFEST, SIGNATURES)
    files = {name: content for name, content in members.items() if name not in beside}
    faults = [
        Fault(name, "is no part of a bundle", "build it with dmz-gateway policy build")
        for name in files
        if not _belongs(name) or any(part.startswith(".") for part in name.split("/"))
    ]
    if not any(name.startswith("core/") for name in files):
        faults.append(NO_CORE)
    if sum(map(len, files.values())) > MOST_BYTES or len(files) > MOST_FILES:
        faults.append(Fault("archive", "the bundle is too large", f"at most {MOST_BYTES} bytes"))
    if faults:
        raise PolicyError(faults)
    return _bundle(files, [], lambda bundle: _beside(bundle, members))


def _bundle(files: dict[str, bytes], faults: list[Fault], also: Callable[[Bundle], list[Fault]]) -> Bundle:
    """A bundle of those files, unless a fault was found before, in them, or by `also` in the whole."""
    modules, tests, texts = _sort(files, faults)
    data: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, text in texts.items():
        for key, value in _documents(name, text, faults).items():
            if key in origins:
                where = f"{name}:{line_of(text, (key,))}"
                faults.append(Fault(where, f"`{key}` is in {origins[key]} too", "keep it in one file"))
            elif key in OWN:
                where = f"{name}:{line_of(text, (key,))}"
                faults.append(Fault(where, f"`{key}` is the gateway's own", "choose another name"))
            else:
                data[key], origins[key] = value, name
    bundle = Bundle(
        revision=digest(files),
        files=files,
        modules=modules,
        tests=tests,
        data=data,
        origins=origins,
        release=_release(files, faults),
    )
    faults += also(bundle)
    if faults:
        raise PolicyError(faults)
    return bundle


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents; lengths keep two different folders from looking alike."""
    whole = hashlib.sha256(b"dmz.bundle/1\n")
    for name in sorted(files):
        raw = name.encode()
        whole.update(b"%d %d\n" % (len(raw), len(files[name])) + raw + files[name])
    return whole.hexdigest()


def parse_yaml(name: str, text: str) -> Any:
    """One YAML 1.2 or JSON document as JSON values. Raises PolicyError with file and line."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs) if name.endswith(".json") else _yaml().load(text)
    except json.JSONDecodeError as error:
        raise PolicyError([Fault(f"{name}:{error.lineno}", error.msg, "mend the JSON")]) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = (error.problem or "not YAML").split("\n", 1)[0]
        raise PolicyError([Fault(f"{name}:{line}", what, "mend the YAML")]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise PolicyError([Fault(f"{name}:1", str(error).split("\n", 1)[0], "mend the file")]) from None
    return value


def line_of(text: str, path: tuple[str | int, ...]) -> int:
    """The line (from 1) of a place in a YAML or JSON text, or of the nearest place around it."""
    line, node = 1, _composed(text)
    for step in path:
        found = _child(node, step)
        if found is None:
            break
        line, node = found
    return line


@lru_cache(maxsize=4)
def _composed(text: str) -> Any:
    try:
        return _yaml().compose(text)
    except (YAMLError, ValueError, RecursionError):
        return None


def _child(node: Any, step: str | int) -> tuple[int, Any] | None:
    if node is None or isinstance(node.value, str):
        return None
    if isinstance(step, int):
        if node.id != "sequence" or step >= len(node.value):
            return None
        return node.value[step].start_mark.line + 1, node.value[step]
    for key, value in node.value if node.id == "mapping" else ():
        if key.value == step:
            return key.start_mark.line + 1, value
    return None


def _yaml() -> YAML:
    reader = YAML(typ="safe", pure=True)  # the C reader knows YAML 1.1 only, where `no` is false
    reader.allow_duplicate_keys = False
    return reader


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"duplicate key {name!r}")
        found[name] = value
    return found


def _gather(folder: Path) -> tuple[dict[str, bytes], list[Fault]]:
    if not folder.is_dir():
        raise PolicyError(
            [Fault(str(folder), "no such folder", "name the folder that holds core/ and data/")]
        )
    files: dict[str, bytes] = {}
    faults: list[Fault] = []
    size = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if hidden or name.endswith(UNFINISHED) or not path.is_file():
            continue
        if not _belongs(name):
            if path.suffix in _REGO:
                faults.append(Fault(f"{name}:1", "Rego outside core/, base/, site/ and tests/", "move it"))
            continue
        try:
            size += path.stat().st_size
            if size > MOST_BYTES or len(files) >= MOST_FILES:
                raise PolicyError([Fault(name, "the bundle is too large", f"at most {MOST_BYTES} bytes")])
            files[name] = path.read_bytes()
        except OSError as error:
            faults.append(Fault(name, f"cannot be read: {error.strerror}", "check the permissions"))
    if not any(name.startswith("core/") for name in files):
        faults.append(NO_CORE)
    return files, faults


def _belongs(name: str) -> bool:
    """Whether a file of that name is part of the bundle: in one of its folders, or the release."""
    top, _, below = name.partition("/")
    return top in FOLDERS if below else top == releases.FILE


def _sort(
    files: Mapping[str, bytes], faults: list[Fault]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Modules, tests and data by their names; whatever is none of them is a fault, not ignored."""
    modules: dict[str, str] = {}
    tests: dict[str, str] = {}
    data: dict[str, str] = {}
    for name, content in files.items():
        top, suffix = name.split("/", 1)[0], PurePosixPath(name).suffix
        if top == releases.FILE:
            continue
        if name.endswith("signatures.json") or PurePosixPath(name).name in OPAS:
            faults.append(Fault(f"{name}:1", "OPA takes a file of this name for its own", "rename it"))
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            faults.append(Fault(f"{name}:1", "is not UTF-8", "save it as UTF-8"))
            continue
        if top == "tests" and suffix in _REGO + _DATA:
            tests[name] = text
        elif top == "data" and suffix in _DATA:
            data[name] = text
        elif top not in ("data", "tests") and suffix in _REGO:
            modules[name] = text
        elif suffix != ".md":
            mend = "Rego belongs under core/, base/ or site/<plant>/, data (.yaml, .json) under data/"
            faults.append(Fault(f"{name}:1", f"a file of this kind does not belong under {top}/", mend))
    return modules, tests, data


def _documents(name: str, text: str, faults: list[Fault]) -> dict[str, Any]:
    try:
        value = parse_yaml(name, text)
    except PolicyError as error:
        faults += error.faults
        return {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(Fault(f"{name}:1", "is not a mapping", "start with the document's name, `grants:`"))
        return {}
    strange = _strange(value, (), [MOST_VALUES])
    if strange is not None:
        path, what = strange
        faults.append(Fault(f"{name}:{line_of(text, path)}", what, "write a string or an integer"))
        return {}
    return value


Strange = tuple[tuple[str | int, ...], str]
"A place in the data, and what is wrong there."


def _strange(value: Any, path: tuple[str | int, ...], room: list[int]) -> Strange | None:
    """The first value that engines could read differently, or None; `room` counts down what may still come.

    Numbers are integers (quanta): engines disagree about the arithmetic of others, and about integers that
    a double does not hold.
    """
    room[0] -= 1
    if room[0] < 0:
        return path, f"more than {MOST_VALUES} values, aliases counted each time"
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                return path, f"the key {key!r} is not a string"
            found = _strange(inner, (*path, key), room)
            if found is not None:
                return found
        return None
    if isinstance(value, list):
        each = (_strange(inner, (*path, place), room) for place, inner in enumerate(value))
        return next((found for found in each if found is not None), None)
    if isinstance(value, str):
        return (path, "a lone surrogate") if any("\ud800" <= c <= "\udfff" for c in value) else None
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= 1 << 53):
        return None
    return path, f"{value!r} is not a string, an integer within 2^53, true, false or null"


def _manifest(folder: Path, revision: str) -> list[Fault]:
    """A stored copy says what it was when it was stored; if it says something else, it was changed."""
    path = folder / ".manifest"
    if not path.is_file():
        return []
    try:
        stated = json.loads(path.read_text()).get("revision")
    except (OSError, ValueError, AttributeError):
        return [Fault(".manifest:1", "is not JSON", "remove it")]
    if stated in (None, "", revision):
        return []
    return [Fault(".manifest:1", f"says revision {stated}, but the files are {revision}", "restore the copy")]


def _release(files: Mapping[str, bytes], faults: list[Fault]) -> Release | None:
    if releases.FILE not in files:
        return None
    try:
        return releases.parse(files[releases.FILE])
    except PolicyError as error:
        faults += error.faults
        return None


def _beside(bundle: Bundle, members: Mapping[str, bytes]) -> list[Fault]:
    """Whether what OPA reads in an archive says the same as its files."""
    try:
        wanted = bundle.members()
    except (KeyError, TypeError):
        return []  # the data does not fit its schema: the loader refuses that, with its line
    return [
        Fault(name, "is missing, or says something else than the files", "use dmz-gateway policy build")
        for name in (DATA, MANIFEST)
        if _plain(members.get(name, b"")) != _plain(wanted[name])
    ]


def _plain(content: bytes) -> str | None:
    """JSON in one form, where 1, 1.0 and true differ; None where it is none, or has a key twice."""
    try:
        return json.dumps(json.loads(content.decode(), object_pairs_hook=_pairs), sort_keys=True)
    except (ValueError, RecursionError):
        return None
