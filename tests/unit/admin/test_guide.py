"""docs/guides/approvals.md says what there is: every row of the table, every bound."""

import re
from pathlib import Path

import pytest

from gateway.admin import api, approval_routes, approvals, posture, posture_routes, votes
from tests.pki import Pki
from tests.unit.admin.people import Site
from tests.unit.admin.test_statement import OPENSSL

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "approvals.md").read_text()


def test_the_table_of_the_api_is_the_table_of_the_code(pki: Pki, tmp_path: Path) -> None:
    site = Site(pki, tmp_path)
    rows = (*approval_routes.routes(site.approvals, "gw-1"), *posture_routes.routes(site.posture))
    told = re.findall(r"^\| (GET|POST) `(\S+)` \| `(\S+)` \|", GUIDE, re.MULTILINE)
    assert told == [(row.method, row.path, row.kind) for row in rows]


BOUNDS = {
    "a request waits": (approvals.PENDING_S,),
    "an approval can be used": (approvals.DEFAULT_WITHIN_S, votes.MOST_WITHIN_S),
    "people who answer one request": (votes.MOST_VOTES,),
    "clocks of people may differ by": (votes.SKEW_S,),
    "a window is open": (posture.MOST_WINDOW_MINUTES,),
    "the glass is broken": (posture.MOST_GLASS_MINUTES,),
    "requests of one person": (api.BUDGET,),
    "a body": (api.MOST_BODY,),
}


@pytest.mark.parametrize("what", BOUNDS)
def test_the_bounds_are_those_of_the_code(what: str) -> None:
    (told,) = re.findall(rf"^\| {what} \| (.*) \|$", GUIDE, re.MULTILINE)
    assert [int(n) for n in re.findall(r"\d+", told)] == list(BOUNDS[what])


def test_the_commands_for_openssl_are_those_that_are_tried() -> None:
    told = " ".join(GUIDE.split()).lower()
    for words in OPENSSL.values():
        for option in ("rsa_padding_mode:pss", "rsa_pss_saltlen:32", "-rawin", "-sigfile"):
            assert option not in words or option in told
    assert "openssl dgst -sha256 -verify public.pem -signature signature statement" in told
