"""`audit show`: one record as a sentence, why, what belongs to it, and its proof."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gateway.audit import tell
from gateway.audit.explain import explanation
from gateway.audit.index import Index
from gateway.audit.proof import Hashes, reading
from gateway.audit.tree import included, leaf
from gateway.cli.audit import given
from gateway.cli.audit.prove import signed
from gateway.model.errors import GatewayError


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = given.command(below, "show", "tell one record: why, what belongs to it, and its proof")
    given.kept(parser)
    parser.add_argument("id", help="ULID or index")
    parser.add_argument("--full", action="store_true", help="every field of every record")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell one record; exit code 1 where there is none, or the journal is damaged."""
    journal = given.journal(args)
    index = given.index(args)
    try:
        found = index.by_id(args.id)
        beside = _beside(index, [n for n, _ in found])
    finally:
        index.close()
    if not found:
        if not given.warned(index.damaged):
            print(f"no record {args.id}", file=sys.stderr)
        return 1
    told = [index.openings.told(n, data) for n, data in found]
    sentence = tell.sentence(told)
    proofs = [proof(journal, n, data) for n, data in found]
    if args.json:
        parts = ",".join(given.stored(index.openings, n, data) for n, data in found)
        more = {"explanation": explanation(told), "related": [n for n, *_ in beside], "proof": proofs}
        head = json.dumps({"sentence": sentence, **more})[:-1]
        sys.stdout.write(f'{head},"records":[{parts}]}}\n')
    else:
        print(sentence)
        lines = [tell.line(n, index.openings.told(n, data), came) for n, data, came in beside]
        _print(found, told, lines, proofs, full=args.full)
    return 1 if given.warned(index.damaged) else 0


def _print(
    found: list[tuple[int, bytes]],
    told: list[dict[str, Any]],
    beside: list[str],
    proofs: list[str],
    *,
    full: bool,
) -> None:
    print("\n" + "\n".join(explanation(told)))
    for (number, _), record in zip(found, told, strict=True) if full else ():
        print(f"\nrecord {number}")
        print("\n".join(tell.details(record)))
    if beside:
        print("\nrelated")
        print("\n".join(beside))
    print("\nproof")
    for line in proofs:
        print(f"  {line}")


def _beside(index: Index, own: list[int]) -> list[tuple[int, bytes, str | None]]:
    """Records about the same request, and about these."""
    wanted = sorted({other for n in own for other in index.related(n)} - set(own))
    return [(n, data, index.came(n)) for n, data in index.stored(wanted)]


def proof(journal: Path, number: int, data: bytes) -> str:
    """Whether the newest checkpoint covers it, and the tree leads to it."""
    try:
        newest, _, key = signed(journal)
        if number >= newest.size:
            return f"record {number} is not signed yet: the newest checkpoint covers {newest.size} records"
        way = Hashes(reading(journal), newest.size).inclusion(number)
    except GatewayError as error:
        return f"record {number}: no proof ({error})"
    if not included(leaf(data), number, newest.size, way, newest.root):
        return f"record {number}: THE TREE DOES NOT LEAD TO IT: run audit verify"
    root = newest.root.hex()
    return f"record {number} is in the checkpoint of {newest.size} records, root {root}, signed by {key.name}"
