"""A gateway in wrong hands cannot show a person one thing and have another signed."""

from pathlib import Path
from typing import Any

import pytest

from gateway.admin import wanted
from gateway.admin.client import said
from gateway.model.errors import GatewayError
from tests.pki import Pki
from tests.unit.admin.people import WRITE, Site, write

ANN = "spiffe://demo.example/person/admin-ann"


@pytest.fixture
def listed(pki: Pki, tmp_path: Path) -> dict[str, Any]:
    site = Site(pki, tmp_path)
    site.ask(site.hmi)
    return site.approvals.recent(1, site.clock())[0]


def test_what_agrees_is_said(listed: dict[str, Any]) -> None:
    statement = said(listed, "gw-1", "grant", ANN, 1_800_000_000, 60)
    assert (statement.operation, statement.what) == (listed["operation"], listed["what"])
    assert statement.expires_s - statement.issued_s == 60


def test_what_does_not_agree_is_not_signed(listed: dict[str, Any], pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    site = Site(pki, tmp_path / "other")
    other = wanted.document(site.hmi, write(9999))
    lies: list[dict[str, Any]] = [
        {"what": wanted.words(other)},
        {"operation": wanted.digest(other)},
        {"document": wanted.canonical(other).decode()},
        {"document": wanted.canonical(other).decode(), "operation": wanted.digest(other)},
        {"requester": ANN},
        {"document": listed["document"].replace(",", ", ", 1)},
        {"document": "{}"},
        {"document": "["},
        {"document": None},
    ]
    assert wanted.digest(wanted.document(site.hmi, WRITE)) == listed["operation"]
    for lie in lies:
        with pytest.raises(GatewayError):
            said({**listed, **lie}, "gw-1", "grant", ANN, 1_800_000_000, 60)
