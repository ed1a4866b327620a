"""A gateway's Modbus door with real policy behind it: the shipped bundle, copied and changed by its user."""

import copy
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from gateway.config.settings import PolicySection
from gateway.model.ulid import Ulids
from gateway.policy import bundle as bundles
from gateway.policy.decider import Decider
from gateway.policy.facts import Facts
from gateway.shipped import folder
from tests.interop.test_tls import Gate, gate
from tests.pki import TRUST_DOMAIN, Pki

OPEN = Facts(mode="run", freeze=False, crl="fresh", clock="trusted", trusted=True)
"A plant in which nothing but rights stands in the way."


@cache
def _shipped() -> dict[str, Any]:
    return bundles.read(folder("policies")).data


class Rights:
    """A copy of the shipped bundle, as an end user changes it: by editing data."""

    def __init__(self, at: Path) -> None:
        self.at = shutil.copytree(folder("policies"), at / "policies")
        self.data = copy.deepcopy(_shipped())
        for file in (self.at / "data").iterdir():
            file.unlink()
        for document in self.data:
            self._write(document)

    def change(self, document: str, edit: Callable[[Any], Any]) -> None:
        """Replace one document of data/ by what `edit` makes of it."""
        self.data[document] = edit(self.data[document])
        self._write(document)

    def _write(self, document: str) -> None:
        # JSON, which is read a hundred times faster than YAML, and in a bundle is as good.
        text = json.dumps({document: self.data[document]}, indent=1)
        (self.at / "data" / f"{document}.json").write_text(text)

    def bind(self, name: str, *roles: str) -> None:
        """Let that peer of the plant have those roles, and no others."""
        subject = f"spiffe://{TRUST_DOMAIN}/plant/{name}"
        self.change("role_bindings", lambda bindings: {**bindings, subject: list(roles)})

    def grant(self, role: str, action: str, table: str, first: int, last: int) -> None:
        """Give a role a range of plc-1."""
        row = {
            "id": f"own-{role}-{action}-{table}-{first}",
            "roles": [role],
            "actions": [action],
            "protocols": ["modbus"],
            "assets": ["plc-1"],
            "modbus": [{"table": table, "ranges": [[first, last]]}],
        }
        self.change("grants", lambda grants: [*grants, row])

    def rename(self, old: str, new: str | None) -> None:
        """Call a role otherwise wherever it stands; None: delete it, and grants that nobody else has."""

        def roles(found: list[str]) -> list[str]:
            return [new if role == old else role for role in found if role != old or new]  # type: ignore[misc]

        def grants(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            changed = [{**row, "roles": roles(row["roles"])} if "roles" in row else row for row in rows]
            return [row for row in changed if row.get("roles") != []]

        self.change("grants", grants)
        self.change("role_bindings", lambda all_: {who: roles(found) for who, found in all_.items()})

    def roles(self) -> set[str]:
        """Every role that a grant or a binding names."""
        named = {role for row in self.data["grants"] for role in row.get("roles", ())}
        return named | {role for found in self.data["role_bindings"].values() for role in found}


def decider(*bundle: Rights) -> Decider:
    """A decider with that bundle active, checked and tested as the gateway does; with none, empty."""
    made = Decider(Ulids(1), PolicySection(bundle=Path()), lambda *_: None)
    made.facts = OPEN
    for rights in bundle:
        made.activate(bundles.read(rights.at))
    return made


@asynccontextmanager
async def ruled(pki: Pki, rights: Rights | None) -> AsyncIterator[Gate]:
    """The real listener, decided by the bundle (None: before one was provisioned)."""
    async with gate(pki) as here:
        here.stage.door.engine = decider(rights) if rights else decider()
        yield here
