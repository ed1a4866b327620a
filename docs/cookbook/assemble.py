"""A recipe laid over the shipped bundle, as a folder that `policy check` and `policy test` take.

    python docs/cookbook/assemble.py 03-value-and-step new

Rego and tests of the recipe are added. Its data is laid over the bundle's: names into names, grants in the
place of those with the same id, other lists behind what is there. The shipped tables stay behind, all but
tests/bases.yaml: they are about the demo plant, and some of its rows come out otherwise under a rule that
takes rights away.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

COOKBOOK = Path(__file__).resolve().parent
SHIPPED = COOKBOOK.parent.parent / "policies"
KEPT = ("core", "base", "site", "data")
WIDTH = 1000
"No line of data is broken."
BASES = Path("tests", "bases.yaml")


def assemble(recipe: Path, shipped: Path, target: Path) -> None:
    """Write the bundle. The target must not be there yet."""
    for name in KEPT:
        shutil.copytree(shipped / name, target / name)
    (target / "tests").mkdir()
    shutil.copy(shipped / BASES, target / BASES)
    for file in sorted(path for path in recipe.rglob("*") if path.suffix in {".yaml", ".rego"}):
        place = target / file.relative_to(recipe)
        if place.is_file():
            _lay_over(place, file)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)


def _lay_over(place: Path, file: Path) -> None:
    """Merge one data file into another; the comments of both stay."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    with place.open(encoding="utf-8") as below, file.open(encoding="utf-8") as above:
        merged = _merged(yaml.load(below), yaml.load(above))
    with place.open("w", encoding="utf-8") as out:
        yaml.dump(merged, out)


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        for name, value in above.items():
            below[name] = _merged(below[name], value) if name in below else value
        return below
    if isinstance(below, list) and isinstance(above, list):
        named = {one["id"]: place for place, one in enumerate(below) if isinstance(one, dict) and "id" in one}
        for one in above:
            if isinstance(one, dict) and one.get("id") in named:
                below[named[one["id"]]] = one
            else:
                below.append(one)
        return below
    return above


def main() -> int:
    """`assemble.py RECIPE FOLDER`"""
    parser = argparse.ArgumentParser(description="Lay a recipe over the shipped bundle.")
    parser.add_argument("recipe", choices=sorted(path.name for path in COOKBOOK.glob("[0-9]*")))
    parser.add_argument("folder", type=Path, help="where to write the bundle; must not be there yet")
    args = parser.parse_args()
    if args.folder.exists():
        parser.error(f"{args.folder} is there already")
    assemble(COOKBOOK / args.recipe, SHIPPED, args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
