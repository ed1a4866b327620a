"""The HTTPS API behind the gateway's own TLS, asked by curl."""

# ruff: noqa: F811 - the fixture `pki` is imported, and asked for by its name

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic_ns, time_ns
from typing import Any

import pytest

from gateway.config.settings import Listener
from gateway.model.decision import Obligation
from gateway.model.moment import Now
from gateway.model.sample import Quality
from gateway.model.ulid import Ulids
from gateway.publish import https, pages
from gateway.publish.https import ROUTES, Api
from gateway.relay.listener import TlsListener
from gateway.web import served
from tests.pki import Credential, Pki, pki  # noqa: F401
from tests.scenarios.north import North, tag
from tests.scenarios.stage import CALLER

SMUGGLED = (
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)
"Two lengths: where the next request begins is a matter of opinion (RFC 9112 §6.3)."

pytestmark = pytest.mark.needs("curl")


def clock() -> Now:
    return Now(time_ns(), monotonic_ns(), True, time_ns())


class Answer:
    def __init__(self, head: str, body: bytes) -> None:
        lines = head.strip().splitlines()
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Office:
    """A consumer in IT, with curl and a certificate."""

    def __init__(self, north: North, pki: Pki, consumer: Credential, listener: TlsListener) -> None:
        self.north = north
        self.pki = pki
        self.consumer = consumer
        self.listener = listener
        self.ready = {"journal": True}

    async def curl(self, path: str, *options: str, certificate: bool = True) -> Answer:
        program = shutil.which("curl")
        assert program
        identity = ("--cert", str(self.consumer.cert), "--key", str(self.consumer.key)) if certificate else ()
        process = await asyncio.create_subprocess_exec(
            program,
            *("--silent", "--show-error", "--include", "--max-time", "10", "--cacert", str(self.pki.root)),
            *identity,
            *options,
            f"https://localhost:{self.listener.port}{path}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise ConnectionError(errors.decode())
        head, _, body = output.partition(b"\r\n\r\n")
        return Answer(head.decode(), body)

    async def raw(self, sent: bytes) -> bytes:
        """What comes back for these bytes, until the connection ends."""
        context = self.consumer.client_context(self.pki.root)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.listener.port, ssl=context, server_hostname="localhost"
        )
        writer.write(sent)
        try:
            return await asyncio.wait_for(reader.read(-1), 10)
        finally:
            writer.close()


@asynccontextmanager
async def office(pki: Pki, north: North, *, zone: str = "it") -> AsyncIterator[Office]:
    server = _issued(pki, "gateway-server", "https-gw")
    consumer = _issued(pki, "it-client", "https-consumer")
    api = Api(
        values=north.values,
        vetting=north.vetting("https", zone),
        door=north.door,
        clock=clock,
        count=north.counts,
        metrics=lambda: "dmz_things_total 7\n",
        ready=lambda: place.ready,
    )
    await api.start()
    listener = TlsListener(
        Listener(name="https", port=0, zone="it", units={}),
        trust=pki.trust("it"),
        certificate=server.cert,
        key=server.key,
        inner=api.client,
        journal=north.journal,
        clock=clock,
        ulids=Ulids(1),
        count=north.counts,
    )
    await listener.start()
    place = Office(north, pki, consumer, listener)
    try:
        yield place
    finally:
        await listener.stop()
        await api.stop()


def _issued(pki: Pki, profile: str, name: str) -> Credential:
    at = pki.dir / "it" / "issued" / f"{name}.pem"
    return Credential(at, at.with_suffix(".key")) if at.exists() else pki.issue(profile, "it", name)


def test_curl_with_a_certificate_gets_value_unit_quality_and_time_and_without_it_nothing(
    pki: Pki,
) -> None:
    async def scenario() -> None:
        north = North(tag("level", description="how full"), clock=clock)
        north.read("level", 41.5)
        async with office(pki, north) as place:
            answer = await place.curl("/api/v1/tags/plc-1.level")
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["server"] == "dmz-gateway"
            level = answer.json
            assert level.pop("time") == level.pop("received")
            assert level == {
                "name": "plc-1.level",
                "value": 41.5,
                "unit": "%",
                "quality": "good",
                "reason": None,
                "sequence": 1,
                "path": "acme/demo/level",
                "asset": "plc-1",
                "description": "how full",
                "range": [0.0, 100.0],
            }
            assert north.journal.story == ["read https.read_tag", f"answered {answer.body.hex()}"]
            asked = north.policy.asked[-1]
            assert asked.north is not None
            assert asked.north.consumer == "spiffe://demo.example/it/https-consumer"
            for path in ("/api/v1/tags/plc-1.level", "/healthz", "/metrics"):
                with pytest.raises(ConnectionError):
                    await place.curl(path, certificate=False)

    asyncio.run(scenario())


def test_bad_values_are_told_as_bad_without_a_value(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(tag("unread"), tag("hot"), tag("lost"), tag("old"), clock=clock)
        north.read("hot", 1000.0)
        north.read("lost", 5.0)
        north.read("lost", None, Quality.BAD, "timeout")
        async with office(pki, north) as place:
            tags = {one["name"]: one for one in (await place.curl("/api/v1/tags")).json["tags"]}
        told = {name: (one["value"], one["quality"], one["reason"]) for name, one in tags.items()}
        assert told == {
            "plc-1.hot": (None, "bad", "range"),
            "plc-1.lost": (None, "bad", "timeout"),
            "plc-1.old": (None, "bad", "restart"),
            "plc-1.unread": (None, "bad", "restart"),
        }

    asyncio.run(scenario())


def test_what_policy_obliges_to_is_done_to_the_value_or_there_is_no_tag(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(*(tag(name) for name in ("level", "masked", "coarse", "old", "odd")), clock=clock)
        for name in ("level", "masked", "coarse", "old", "odd"):
            north.read(name, 47.0)
        north.policy.obliges = {
            "plc-1.masked": (Obligation("mask"),),
            "plc-1.coarse": (Obligation("round", (("step", 10),)),),
            "plc-1.old": (Obligation("quality", (("max_age_ms", 0),)),),
            "plc-1.odd": (Obligation("readback", (("tolerance", 0),)),),
        }
        async with office(pki, north) as place:
            tags = (await place.curl("/api/v1/tags")).json["tags"]
            one = (await place.curl("/api/v1/tags/plc-1.masked")).json
            gone = await place.curl("/api/v1/tags/plc-1.old")
        told = {one["name"]: (one["value"], one["quality"], one["reason"]) for one in tags}
        assert told == {
            "plc-1.coarse": (50.0, "good", None),
            "plc-1.level": (47.0, "good", None),
            "plc-1.masked": (None, "bad", "masked"),
        }
        assert (one["value"], one["reason"]) == (None, "masked")
        assert gone.status == 404
        assert set(north.journal.denials) == {
            ("obligation.quality", "plc-1.old"),
            ("obligation.readback", "plc-1.odd"),
        }

    asyncio.run(scenario())


def test_denied_withheld_and_unknown_tags_look_the_same_and_are_recorded(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(tag("level"), tag("denied"), tag("secret", release="none"), clock=clock)
        north.policy.denies = {"plc-1.denied"}
        async with office(pki, north) as place:
            names = ("plc-1.denied", "plc-1.secret", "plc-1.no-such", "..%2f..%2fetc", "x" * 300)
            answers = [await place.curl(f"/api/v1/tags/{name}") for name in names]
            assert {answer.status for answer in answers} == {404}
            assert len({answer.body for answer in answers}) == 1
            assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
            assert answers[0].headers["content-type"].startswith("application/problem+json")
            assert north.journal.denials == [
                ("site.named", "plc-1.denied"),
                ("release.withheld", "plc-1.secret"),
                ("wire.unknown_tag", ""),
                ("wire.unknown_tag", ""),
                ("wire.unknown_tag", ""),
            ]
            page = (await place.curl("/api/v1/tags")).json
            assert [one["name"] for one in page["tags"]] == ["plc-1.level"]
            assert len(north.journal.denials) == 5  # what a page leaves out is no refusal

    asyncio.run(scenario())


@pytest.mark.parametrize("slow", [False, True])
def test_pages_end_where_the_next_begins(pki: Pki, slow: bool) -> None:
    async def scenario() -> None:
        names = [f"t{n:03}" for n in range(150)]
        north = North(*[tag(name) for name in names], clock=clock)
        north.policy.denies = {f"plc-1.t{n:03}" for n in range(0, 150, 3)}
        north.policy.slow = slow
        async with office(pki, north) as place:
            seen: list[str] = []
            query = "?limit=40"
            while True:
                page = (await place.curl(f"/api/v1/tags{query}")).json
                assert len(page["tags"]) <= 40
                seen += [one["name"] for one in page["tags"]]
                if page["next"] is None:
                    break
                query = f"?limit=40&cursor={page['next']}"
            assert seen == [f"plc-1.{name}" for n, name in enumerate(names) if n % 3]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/", (), 404),
        ("/api/v2/tags", (), 404),
        ("/api/v1/tags", ("-X", "DELETE"), 405),
        ("/api/v1/tags", ("--head",), 405),
        ("/api/v1/tags", ("--data", "x"), 413),
        ("/api/v1/tags?limit=0", (), 400),
        (f"/api/v1/tags?limit={pages.MOST_TAGS + 1}", (), 400),
        ("/api/v1/tags?limit=9999999999999999999999", (), 400),
        ("/api/v1/tags?limit=1&limit=2", (), 400),
        ("/api/v1/tags?cursor=!!", (), 400),
        ("/api/v1/tags?cursor=YS9i", (), 400),  # decodes to `a/b`, which we never made
        ("/api/v1/tags?filter=x", (), 400),
        ("/api/v1/tags/plc-1.level?raw=1", (), 400),
    ],
)
def test_every_mistake_is_a_problem(
    pki: Pki,
    path: str,
    options: tuple[str, ...],
    status: int,
) -> None:
    async def scenario() -> None:
        async with office(pki, North(tag("level"), clock=clock)) as place:
            answer = await place.curl(path, *options)
            assert answer.status == status
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.headers["server"] == "dmz-gateway"
            if "--head" not in options:
                assert answer.json["status"] == status
            if status == 405:
                assert answer.headers["allow"] == "GET"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"GET /" + b"a" * (served.MOST_LINE + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (served.MOST_LINE + 1) + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        + b"".join(b"X-%d: 1\r\n" % n for n in range(served.MOST_HEADERS + 1))
        + b"\r\n",
        SMUGGLED,
    ],
    ids=["not-http", "line", "field", "fields", "smuggling"],
)
def test_what_is_no_request_ends_the_connection_with_a_problem(pki: Pki, sent: bytes) -> None:
    async def scenario() -> None:
        async with office(pki, North(tag("level"), clock=clock)) as place:
            back = await place.raw(sent)  # returns: the connection has ended
            assert back.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
            assert b"application/problem+json" in back
            assert b"aiohttp" not in back
            assert b"aaaa" not in back
            assert north_reads(place) == 0

    asyncio.run(scenario())


def north_reads(place: Office) -> int:
    return len([line for line in place.north.journal.story if line.startswith("read")])


def test_a_head_that_never_ends_is_cut(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "IDLE_S", 0.5)

    async def scenario() -> None:
        async with office(pki, North(tag("level"), clock=clock)) as place:
            assert await place.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""

    asyncio.run(scenario())


def test_who_has_it_already_gets_304(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with office(pki, north) as place:
            path = "/api/v1/tags/plc-1.level"
            for each in ("/api/v1/tags", path):
                first = await place.curl(each)
                again = await place.curl(each, "-H", f"If-None-Match: {first.headers['etag']}")
                assert (again.status, again.body) == (304, b"")
            held = (await place.curl(path)).headers["etag"]
            north.read("level", 3.0)
            changed = await place.curl(path, "-H", f"If-None-Match: {held}")
            assert changed.status == 200

    asyncio.run(scenario())


def test_health_readiness_and_metrics_are_for_those_who_may(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with office(pki, north) as place:
            assert (await place.curl("/healthz")).json == {"status": "ok"}
            assert (await place.curl("/readyz")).json == {"status": "ready", "checks": {"journal": True}}
            metrics = await place.curl("/metrics")
            assert metrics.body == b"dmz_things_total 7\n"
            assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
            for checks in ({"journal": False, "policy": True}, {}):
                place.ready = checks
                unready = await place.curl("/readyz")
                assert (unready.status, unready.json["checks"]) == (503, checks)
            north.policy.denies = {"https.health", "https.metrics"}
            for path in ("/healthz", "/readyz", "/metrics"):
                assert (await place.curl(path)).status == 403

    asyncio.run(scenario())


def test_what_cannot_be_recorded_is_not_answered(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with office(pki, north) as place:
            north.journal.broken = True
            for path in ("/api/v1/tags/plc-1.level", "/api/v1/tags", "/healthz"):
                answer = await place.curl(path)
                assert answer.status == 503
                assert b"plc-1" not in answer.body

    asyncio.run(scenario())


def test_without_a_caller_there_is_401_for_every_route() -> None:
    """Should TLS ever hand over a connection that it has not identified."""

    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        api = Api(
            values=north.values,
            vetting=north.vetting("https"),
            door=north.door,
            clock=clock,
            count=north.counts,
            metrics=lambda: "secret",
            ready=lambda: {"all": True},
        )
        await api.start()

        server = await asyncio.get_running_loop().create_server(lambda: api.client(CALLER), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for route in ROUTES:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {route.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            back = await asyncio.wait_for(reader.read(-1), 10)
            writer.close()
            assert back.startswith(b"HTTP/1.1 401")
        assert north.journal.story == []
        server.close()
        await api.stop()

    asyncio.run(scenario())


def test_an_answer_that_takes_too_long_is_given_up(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "ANSWER_S", 0.2)

    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        north.policy.slow = True
        north.policy.stuck = True
        async with office(pki, north) as place:
            answer = await place.curl("/api/v1/tags/plc-1.level")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert north_reads(place) == 0

    asyncio.run(scenario())


def test_many_requests_on_one_connection(pki: Pki) -> None:
    async def scenario() -> None:
        north = North(tag("level"), clock=clock)
        async with office(pki, north) as place:
            one = b"GET /api/v1/tags/plc-1.level HTTP/1.1\r\nHost: x\r\n\r\n"
            last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            back = await place.raw(one * 50 + last)
            assert back.count(b"HTTP/1.1 200 OK") == 51

    asyncio.run(scenario())


def test_tls_below_1_2_and_another_zone_get_nothing(pki: Pki) -> None:
    async def scenario() -> None:
        async with office(pki, North(tag("level"), clock=clock)) as place:
            place.consumer = pki.issue("modbus-client", "plant", "https-foreign", role="operator")
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await place.curl("/api/v1/tags")
            assert north_reads(place) == 0

    asyncio.run(scenario())
