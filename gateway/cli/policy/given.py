"""The bundle that a command is about, and how what is wrong with one is said."""

import argparse
import json
from pathlib import Path

from msgspec.structs import asdict

from gateway.model.errors import Fault, PolicyError
from gateway.policy import bundle
from gateway.policy.bundle import Bundle


def command(
    below: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    """A command below `policy`, with `--json`."""
    parser = below.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def add_bundle(parser: argparse.ArgumentParser, name: str = "bundle", metavar: str = "BUNDLE") -> None:
    """A bundle as an argument; `read` it."""
    parser.add_argument(name, type=Path, metavar=metavar, help="folder with core/ base/ site/ data/")


def there(path: Path) -> Path:
    """The path, if anything is there. Raises PolicyError: then there is no bundle to say anything about."""
    if not path.exists():
        raise PolicyError([Fault(str(path), "no such folder", "name the folder that holds core/ and data/")])
    return path


def read(path: Path) -> Bundle:
    """The bundle there. Raises PolicyError."""
    return bundle.read(there(path))


def say_faults(faults: list[Fault], *, as_json: bool) -> None:
    """Everything that is wrong, and what a gateway makes of it."""
    if as_json:
        print(json.dumps({"faults": [asdict(fault) for fault in faults]}))
        return
    for fault in faults:
        print(fault)
    faults_are = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    print(f"{faults_are}: a gateway would keep its old bundle")
