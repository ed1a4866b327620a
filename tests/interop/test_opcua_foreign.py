"""OPC UA of other makes: two clients, two servers, three policies, directly and through the gateway.

"What must hold" 1 and 2 of the issue on the OPC UA door. What a client is told through the gateway (values,
status codes, time stamps) is what the server tells it directly; what is denied has its status in its place,
and the server's own log shows that it never saw it.
"""

import asyncio
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.pki import Pki, pki

from .opcua.clients import POLICIES, Clients, Make, Peer, Told, at
from .opcua.plant import HERE, Plant, plant
from .opcua.site import Site, free_port, node, until

__all__ = ["pki"]

pytestmark = pytest.mark.needs("node-opcua")

MAKES: tuple[Make, ...] = ("asyncua", "node-opcua")

SOAK = os.environ.get("OPCUA_SOAK") == "1"
"Set by `make soak`: sixty renewals of ten-second tokens, instead of six that the client does sooner."

TOKEN_MS = 10_000

DENIED = 0x801F0000
"Bad_UserAccessDenied."

NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

SPECIMENS = [
    f"Specimen.{one['name']}"
    for one in json.loads((HERE / "specimens.json").read_text())
    if one["name"] not in ("Secret", "Limited")
]
"Those that everybody may read and no other test writes."


def ns(name: str) -> str:
    """A node of a server, as clients write it: both servers have the namespace at 2."""
    return f"ns=2;s={name}"


@dataclass
class Ground:
    """Two servers and a gateway before them."""

    site: Site
    plants: dict[Make, Plant]
    clients: Clients

    def urls(self, make: Make) -> tuple[str, str]:
        """A server directly, and through the gateway."""
        return self.plants[make].url, self.site.url(self.plants[make].folder.name)


@pytest.fixture(scope="module")
def ground(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """All that these tests need, started once."""
    folder = tmp_path_factory.mktemp("opcua")
    with ExitStack() as stack:
        plants: dict[Make, Plant] = {}
        for make, name in (("asyncua", "plc-a"), ("node-opcua", "plc-n")):
            one = plant(pki, folder / name, free_port(), make, name, reads=not SOAK)  # type: ignore[arg-type] # of MAKES
            plants[make] = stack.enter_context(one)  # type: ignore[index]
        servers = {one.folder.name: one for one in plants.values()}
        site = stack.enter_context(Site(folder / "gateway", pki, servers))
        clients = Clients(folder)
        stack.callback(clients.stop)
        yield Ground(site, plants, clients)


SPAN = {"start": "2026-01-01T00:00:10+00:00", "end": "2026-01-01T00:00:20+00:00", "count": 0}

BEGINNING = [
    {"node": ns(f"Specimen.{name}"), "value": value, "source": "2026-04-04T04:04:04.444+00:00"}
    for name, value in (("Writable", ["Double", 1.0]), ("WritableArray", ["UInt16", [1, 2, 3, 4]]))
]

SCRIPT: list[tuple[str, dict[str, Any]]] = [
    ("write", {"items": BEGINNING}),
    ("browse", {"node": ns("Tank")}),
    ("browse", {"node": "i=85"}),
    ("browse", {"node": ns("No.Such")}),
    ("translate", {"start": "i=85", "path": [[2, "Tank"], [2, "Level"]]}),
    ("read", {"nodes": [*map(ns, SPECIMENS), ns("No.Such")]}),
    ("read", {"nodes": [ns("Specimen.Double"), ns("Tank")], "attribute": 4}),
    ("read", {"nodes": [ns("Specimen.Doubles")], "range": "1:2"}),
    ("register", {"nodes": [ns("Specimen.Double")]}),
    (
        "write",
        {
            "items": [
                {"node": ns("Tank.LevelSetpoint"), "value": ["Double", 55.5]},
                {"node": ns("Tank.LevelSetpoint"), "value": ["Double", 155.5]},
                {"node": ns("Tank.LevelSetpoint"), "value": ["Float", 55.5]},
                {"node": ns("Tank.Level"), "value": ["Double", 1.0]},
                *(
                    {"node": ns(name), "value": value, "source": "2026-05-05T05:05:05.555+00:00"}
                    for name, value in (
                        ("Specimen.Writable", ["Double", 2.5]),
                        ("Specimen.WritableArray", ["UInt16", [5, 6, 7, 8]]),
                    )
                ),  # without a time node-opcua's server itself has once one and once none
            ]
        },
    ),
    ("read", {"nodes": [ns("Specimen.Writable"), ns("Specimen.WritableArray")]}),
    *(
        ("call", {"object": ns("Tank"), "method": ns(f"Tank.{method}"), "arguments": given})
        for method, given in (
            ("StartBatch", [["Double", 2.0]]),
            ("StartBatch", [["Double", 9.0]]),
            ("StartBatch", []),
            ("StartBatch", [["String", "x"]]),
            ("NoSuch", []),
        )
    ),
    (
        "subscribe",
        {
            "nodes": [ns("Specimen.Double"), ns("Specimen.Bad"), ns("No.Such")],
            "count": 1,
            "publishing_ms": 100,
            "sampling_ms": 100,
        },
    ),
    *(
        (
            "history",
            {"node": ns(name), **SPAN},
        )
        for name in ("Specimen.Past", "Specimen.Double")
    ),
]
"What each client does, in this order; what it begins with makes that it can be done again."


def without_now(told: Any, began: datetime) -> Any:
    """What was told, with `now` for each time stamp of this run: servers stamp some answers so."""
    since, end = at(began) or "", at(datetime.now(UTC) + timedelta(seconds=1)) or ""

    def one(match: re.Match[str]) -> str:
        return "now" if since <= match.group() <= end else match.group()

    return json.loads(NOW.sub(one, json.dumps(told)))


async def transcript(peer: Peer, url: str, policy: str) -> dict[str, Any]:
    """All that the script tells a client at an endpoint."""
    told: dict[str, Any] = {}
    assert await peer.ask("connect", url=url, policy=policy) == {"is": "connected"}
    began = datetime.now(UTC)
    for number, (do, what) in enumerate(SCRIPT):
        told[f"{number} {do} {json.dumps(what)[:80]}"] = without_now(await peer.ask(do, **what), began)
    assert await peer.ask("close") == {"is": "closed"}
    return told


DIRECT: dict[tuple[Make, Make], dict[str, Any]] = {}
"What was told directly, once for each pair."


@pytest.mark.parametrize("policy", list(POLICIES))
@pytest.mark.parametrize("by", MAKES)
@pytest.mark.parametrize("make", MAKES)
async def test_it_is_told_the_same_directly_and_through_the_gateway(
    ground: Ground, make: Make, by: Make, policy: str
) -> None:
    direct, through = ground.urls(make)
    key = (make, by)
    async with ground.clients.client(by, ground.site.peer) as peer:
        if key not in DIRECT:
            DIRECT[key] = await transcript(peer, direct, policy)
            good = [told for name, told in DIRECT[key].items() if "is" not in told]
            assert good == [], "the direct connection itself fails"
        told = await transcript(peer, through, policy)
    differ = {
        name: (DIRECT[key][name], through) for name, through in told.items() if through != DIRECT[key][name]
    }
    assert not differ, json.dumps(differ)


@pytest.mark.parametrize("by", MAKES)
@pytest.mark.parametrize("make", MAKES)
async def test_notifications_are_the_same_at_the_same_time(ground: Ground, make: Make, by: Make) -> None:
    """One client watches a counter directly, another through the gateway: the same record of each value."""
    watched = {"nodes": [ns("Specimen.Counter")], "count": 12, "publishing_ms": 100, "sampling_ms": 100}
    async with (
        ground.clients.client(by, ground.site.peer) as one,
        ground.clients.client(by, ground.site.peer, "two") as other,
    ):
        for peer, url in zip((one, other), ground.urls(make), strict=True):
            assert await peer.ask("connect", url=url, policy="Basic256Sha256") == {"is": "connected"}
        told = await asyncio.gather(*(peer.ask("subscribe", **watched) for peer in (one, other)))
    here, there = ({tuple(got["value"]): got for got in each["is"]["got"][0]} for each in told)
    both = here.keys() & there.keys()
    assert len(both) >= 3, (here, there)
    for value in both:
        assert {**here[value], "server": None} == {**there[value], "server": None}
    counted = [number for _, number in there]
    assert counted == sorted(set(counted))


async def renewed(ground: Ground, make: Make, by: Make) -> Told:
    """Reads without a pause until the channel has been renewed so often."""
    pace = {} if SOAK else {"renew_ms": 1_200}
    times, within_s = (60, 900) if SOAK else (6, 30)
    async with ground.clients.client(by, ground.site.peer, f"renewing-{make}") as peer:
        url = ground.urls(make)[1]
        asked = {"url": url, "policy": "Aes256_Sha256_RsaPss", "lifetime_ms": TOKEN_MS, **pace}
        assert await peer.ask("connect", **asked) == {"is": "connected"}
        told = await peer.ask("renewed", node=ns("Specimen.Double"), times=times, within_s=within_s)
    assert told["is"]["renewals"] >= times
    return dict(told["is"])


async def test_channels_are_renewed_under_load(ground: Ground) -> None:
    """Tokens of ten seconds, all pairs at once; no read fails, whichever token it came under."""
    pairs = [(make, by) for make in MAKES for by in MAKES]
    told = await asyncio.gather(*(renewed(ground, make, by) for make, by in pairs))
    assert [one["bad"] for one in told] == [0] * len(pairs)
    assert all(one["reads"] > one["renewals"] for one in told), told


def saw(ground: Ground, make: Make, what: str) -> list[Told]:
    """Lines of the server's own log about a node or method."""
    return [line for line in ground.plants[make].seen() if what in json.dumps(line)]


@pytest.mark.parametrize("by", MAKES)
@pytest.mark.parametrize("make", MAKES)
async def test_what_is_denied_never_arrives(ground: Ground, make: Make, by: Make) -> None:
    """Nodes, methods, values, attributes, items: the status in its place, nothing in the server's log."""
    before = {what: len(saw(ground, make, what)) for what in ("Vault", "ResetTotal", "987.5")}
    async with ground.clients.client(by, ground.site.peer) as peer:
        url = ground.urls(make)[1]
        assert await peer.ask("connect", url=url, policy="Basic256Sha256") == {"is": "connected"}

        read = (
            await peer.ask("read", nodes=[ns("Specimen.Double"), ns("Vault.Secret"), ns("Specimen.Byte")])
        )["is"]
        assert [one["status"] for one in read] == [0, DENIED, 0]
        assert read[1]["value"] is None
        assert read[2]["value"] == ["Byte", 255]

        items = [
            {"node": ns("Specimen.Writable"), "value": ["Double", 3.5]},
            {"node": ns("Vault.Secret"), "value": ["Double", 3.5]},
            {"node": ns("Specimen.Limited"), "value": ["Double", 987.5]},
            {"node": ns("Specimen.Limited"), "value": ["Double", 60.0]},
            {"node": ns("Specimen.Writable"), "value": ["LocalizedText", ["en", "Vault"]], "attribute": 4},
        ]
        assert (await peer.ask("write", items=items))["is"] == [0, DENIED, DENIED, 0, DENIED]
        read = (await peer.ask("read", nodes=[ns("Specimen.Writable"), ns("Specimen.Limited")]))["is"]
        assert [one["value"] for one in read] == [["Double", 3.5], ["Double", 60.0]]

        called = await peer.ask("call", object=ns("Tank"), method=ns("Tank.ResetTotal"), arguments=[])
        assert called["is"] == {"status": DENIED, "inputs": [], "outputs": []}

        browsed = await peer.ask("browse", node=ns("Vault.Secret"))
        assert browsed["is"] == {"status": DENIED, "references": []}

        history = await peer.ask(
            "history",
            node=ns("Vault.Secret"),
            start=at(datetime.now(UTC)),
            end=at(datetime.now(UTC)),
            count=1,
        )
        assert history["is"] == {"status": DENIED, "values": []}

        watched = [ns("Vault.Secret"), ns("Specimen.Double")]
        told = await peer.ask("subscribe", nodes=watched, count=1, publishing_ms=100, sampling_ms=100)
        assert told["is"]["statuses"] == [DENIED, 0]
        assert told["is"]["got"][1][0]["value"] == ["Double", 3.141592653589793]
    assert {what: len(saw(ground, make, what)) for what in before} == before


@pytest.mark.parametrize("by", MAKES)
async def test_who_has_no_role_gets_nothing(ground: Ground, by: Make) -> None:
    before = len(ground.plants["asyncua"].seen(service="Write"))
    async with ground.clients.client(by, ground.site.stranger) as peer:
        url = ground.urls("asyncua")[1]
        assert await peer.ask("connect", url=url, policy="Basic256Sha256") == {"is": "connected"}
        read = (await peer.ask("read", nodes=[ns("Specimen.Double"), ns("Tank.Level")]))["is"]
        assert [one["status"] for one in read] == [DENIED, DENIED]
        told = await peer.ask("write", items=[{"node": ns("Specimen.Writable"), "value": ["Double", 1.0]}])
        assert told["is"] == [DENIED]
    assert len(ground.plants["asyncua"].seen(service="Write")) == before


async def test_a_clients_audit_entry_goes_through(ground: Ground) -> None:
    """RequestHeader.AuditEntryId (OPC 10000-4 7.33) is the client's, and the server's to log."""
    async with ground.clients.client("node-opcua", ground.site.peer) as peer:
        url = ground.urls("node-opcua")[1]
        assert await peer.ask("connect", url=url, policy="Basic256Sha256") == {"is": "connected"}
        told = await peer.ask("audited", node=ns("Specimen.Byte"), entry="shift-7/entry-4711")
    assert told["is"]["value"] == ["Byte", 255]
    seen = ground.plants["node-opcua"].seen(audit="shift-7/entry-4711")
    assert [line["node"] for line in seen] == [node("Specimen.Byte")]


@pytest.mark.parametrize("by", MAKES)
async def test_endpoints_tell_the_truth(ground: Ground, by: Make) -> None:
    """One endpoint for each policy, under the address that the client came by."""
    async with ground.clients.client(by, ground.site.peer) as peer:
        url = ground.urls("asyncua")[1]
        told = (await peer.ask("endpoints", url=url))["is"]
    assert {(one["policy"], one["mode"]) for one in told if one["url"] == url} == {
        (policy, "SignAndEncrypt") for policy in POLICIES
    }


async def test_what_was_done_is_in_the_journal(ground: Ground) -> None:
    async with ground.clients.client("asyncua", ground.site.peer) as peer:
        assert (await peer.ask("connect", url=ground.urls("asyncua")[1], policy="Basic256Sha256")) == {
            "is": "connected"
        }
        told = await peer.ask("write", items=[{"node": ns("Specimen.Limited"), "value": ["Double", 33.0]}])
        assert told["is"] == [0]
    intents = [
        one for one in ground.site.records("intent") if node("Specimen.Limited") in json.dumps(one["what"])
    ]
    last = intents[-1]
    assert last["who"]["subject"] == "urn:demo.example:plant:ua-peer"
    assert [point["q"] for point in last["what"]["points"]] == [33]
    until(  # an outcome is on the disk a little later than the client knows
        "the outcome is on record",
        lambda: [one for one in ground.site.records("outcome") if one["about"] == last["id"]],
    )
