"""Modbus/TCP Security §8.4: from the role in a certificate to the answer on the wire."""

import json
from pathlib import Path
from struct import pack
from typing import get_args

import pytest
from cryptography import x509
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from gateway.cli import main
from gateway.config.settings import Listener, Refusal
from gateway.identity.certificate import ROLE, ROLE_OID
from gateway.identity.request import Request
from gateway.model.decision import Denied
from gateway.model.errors import IdentityError, PolicyError
from gateway.model.identity import RoleState
from gateway.policy import bundle as bundles
from gateway.shipped import folder
from gateway.wire.modbus.functions import FUNCTIONS
from tests.interop.test_relay import Client, read, value, write
from tests.interop.test_tls import Gate
from tests.pki import TRUST_DOMAIN, Credential, OddRole, Pki
from tests.policy.questions import NOW
from tests.scenarios.stage import CALLER, READ

from .certificates import Draft
from .rights import Rights, decider, ruled

DENIED_READ, DENIED_WRITE = b"\x83\x01", b"\x86\x01"
UTF8 = 0x0C

REQUESTS: dict[int, bytes] = {
    0x01: bytes.fromhex("01 0000 0001"),
    0x02: bytes.fromhex("02 0000 0001"),
    0x03: bytes.fromhex("03 0000 0001"),
    0x04: bytes.fromhex("04 0000 0001"),
    0x05: bytes.fromhex("05 0000 ff00"),
    0x06: bytes.fromhex("06 000a 0001"),
    0x07: bytes.fromhex("07"),
    0x08: bytes.fromhex("08 0000 a537"),
    0x0B: bytes.fromhex("0b"),
    0x0C: bytes.fromhex("0c"),
    0x0F: bytes.fromhex("0f 0000 0001 01 01"),
    0x10: bytes.fromhex("10 000a 0001 02 0001"),
    0x11: bytes.fromhex("11"),
    0x14: bytes.fromhex("14 07 06 0004 0001 0002"),
    0x15: bytes.fromhex("15 09 06 0004 0007 0001 06af"),
    0x16: bytes.fromhex("16 000a 00f2 0025"),
    0x17: bytes.fromhex("17 000a 0001 000a 0001 02 00ff"),
    0x18: bytes.fromhex("18 000a"),
    0x2B: bytes.fromhex("2b 0e 01 00"),
}
"One well-formed request for each function that the gateway knows."


def adu(tid: int, pdu: bytes, unit: int = 1) -> bytes:
    """A request."""
    return pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


@pytest.fixture
def rights(tmp_path: Path) -> Rights:
    """The shipped bundle, the end user's to change."""
    return Rights(tmp_path)


async def asked(here: Gate, credential: Credential, *requests: bytes) -> list[bytes]:
    """The answers to requests on one connection."""
    client = await here.connect(credential)
    found = [await client.ask(request) for request in requests]
    client.close()
    return found


async def two_roles(pki: Pki, rights: Rights, tag: str) -> None:
    """Two certificates that differ in their role: the same two requests, two verdicts for the write."""
    operator = pki.issue("modbus-client", "plant", f"{tag}-operator", "operator")
    viewer = pki.issue("modbus-client", "plant", f"{tag}-viewer", "viewer")
    for name in ("operator", "viewer"):
        rights.bind(f"{tag}-{name}", "operator", "viewer")
    rights.grant("operator", "write", "holding", 10, 19)
    async with ruled(pki, rights) as here:
        requests = read(1, 7), write(2, 10, 4711)
        assert await asked(here, operator, *requests) == [value(7), write(2, 10, 4711)[7:]]
        assert await asked(here, viewer, *requests) == [value(7), DENIED_WRITE]
        assert [seen[7] for seen in here.plant.device.seen] == [3, 6, 3], "the second write never left"


async def test_r_04_authorization_uses_the_role_of_the_certificate(pki: Pki, rights: Rights) -> None:
    await two_roles(pki, rights, "r04")


async def test_r_16_role_based_authorization_is_provided(pki: Pki, rights: Rights) -> None:
    await two_roles(pki, rights, "r16")


async def test_r_30_the_server_extracts_the_role(pki: Pki, rights: Rights) -> None:
    async with ruled(pki, rights) as here:
        for role in ("operator", "viewer", "Shift lead_2.b-c"):
            shown = pki.issue("modbus-client", "plant", f"r30-{role.split()[0]}", role)
            client = await here.connect(shown)
            await client.ask(read(1, 7))
            found = [each.caller.identity.roles for each in here.listener._connections if each.caller]
            assert (role,) in found
            client.close()


async def test_r_17_each_element_of_authorization_counts(pki: Pki, rights: Rights) -> None:
    """Take away the role, the binding or the grant, and what was allowed is denied (§8.4 as a whole)."""
    whole = pki.issue("modbus-client", "plant", "r17-whole", "operator")
    roleless = pki.issue("modbus-client", "plant", "r17-roleless")
    unbound = pki.issue("modbus-client", "plant", "r17-unbound", "operator")
    ungranted = pki.issue("modbus-client", "plant", "r17-ungranted", "it-reader")
    rights.bind("r17-whole", "operator")
    rights.bind("r17-roleless", "operator")
    rights.bind("r17-ungranted", "it-reader")
    async with ruled(pki, rights) as here:
        assert await asked(here, whole, read(1, 7)) == [value(7)]
        for credential in (roleless, unbound, ungranted):
            assert await asked(here, credential, read(1, 7)) == [DENIED_READ]


async def test_r_18_extension_algorithm_and_database_are_there(pki: Pki, rights: Rights) -> None:
    shown = pki.issue("modbus-client", "plant", "r18", "operator")
    assert len(role_extensions(shown)) == 1
    loaded = bundles.read(rights.at)
    assert "core/decision.rego" in loaded.modules
    assert loaded.data["grants"]
    assert loaded.data["role_bindings"]
    for missing in ("core", "data"):
        less = Rights(rights.at.parent / missing)
        for file in (less.at / missing).iterdir():
            file.unlink()
        with pytest.raises(PolicyError):
            decider(less)


async def test_r_19_a_client_is_provisioned_with_its_certificate(pki: Pki, rights: Rights) -> None:
    """By the product's own command; the pair of files is all that a client needs beside the root."""
    command = ["pki", "issue", "--dir", str(pki.dir), "--profile", "modbus-client", "--zone", "plant"]
    assert main([*command, "--name", "r19", "--role", "operator"]) == 0
    cert = pki.dir / "plant" / "issued" / "r19.pem"
    rights.bind("r19", "operator")
    async with ruled(pki, rights) as here:
        assert await asked(here, Credential(cert, cert.with_suffix(".key")), read(1, 7)) == [value(7)]


def role_extensions(credential: Credential) -> list[bytes]:
    """What stands under the role OID."""
    found = x509.load_der_x509_certificate(credential.der).extensions
    return [
        each.value.value
        for each in found
        if isinstance(each.value, x509.UnrecognizedExtension) and each.oid.dotted_string == ROLE_OID
    ]


def test_r_20_issued_certificates_include_the_role(pki: Pki) -> None:
    shown = pki.issue("modbus-client", "plant", "r20", "operator")
    assert role_extensions(shown) == [bytes((UTF8, 8)) + b"operator"]


async def test_r_21_only_the_oid_of_modbus_org_is_a_role(pki: Pki, rights: Rights) -> None:
    assert ROLE_OID == "1.3.6.1.4.1.50316.802.1"
    rights.bind("r21-own", "operator")
    for last in ("2", "1.1", ""):
        rights.bind(f"r21-other-{last}", "operator")
    async with ruled(pki, rights) as here:
        own = pki.issue("modbus-client", "plant", "r21-own", "operator")
        assert await asked(here, own, read(1, 7)) == [value(7)]
        for last in ("2", "1.1", ""):
            draft = Draft(pki, f"r21-other-{last}")
            oid = x509.ObjectIdentifier(f"{ROLE_OID[:-2]}.{last}".rstrip("."))
            value_ = bytes((UTF8, 8)) + b"operator"
            draft.extensions = [each for each in draft.extensions if each[0].oid.dotted_string != ROLE_OID]
            draft.replace(x509.UnrecognizedExtension(oid, value_), critical=False)
            assert await asked(here, draft.stored(), read(1, 7)) == [DENIED_READ]


STRING_TAGS = {"UTF8": 0x0C, "Printable": 0x13, "IA5": 0x16, "Teletex": 0x14, "Visible": 0x1A, "OCTET": 0x04}


async def test_r_22_the_role_is_a_utf8string(pki: Pki, rights: Rights) -> None:
    encoded = {kind: bytes((tag, 8)) + b"operator" for kind, tag in STRING_TAGS.items()} | {
        "raw": b"operator"
    }
    bindings = {f"spiffe://{TRUST_DOMAIN}/plant/r22-{kind}": ["operator"] for kind in encoded}
    rights.change("role_bindings", lambda _: bindings)
    async with ruled(pki, rights) as here:
        for kind, extension in encoded.items():
            draft = Draft(pki, f"r22-{kind}")
            oid = x509.ObjectIdentifier(ROLE_OID)
            draft.replace(x509.UnrecognizedExtension(oid, extension), critical=False)
            answer = value(7) if kind == "UTF8" else DENIED_READ
            assert await asked(here, draft.stored(), read(1, 7)) == [answer], kind


async def test_r_65_one_whole_string_is_one_role(pki: Pki, rights: Rights) -> None:
    names = {odd: f"r65-{odd.replace('_', '-')}" for odd in get_args(OddRole)}
    every = ["operator", "admin", "engineer"]
    bindings = {f"spiffe://{TRUST_DOMAIN}/plant/{name}": every for name in names.values()}
    rights.change("role_bindings", lambda _: bindings)
    async with ruled(pki, rights) as here:
        for odd, name in names.items():
            shown = pki.odd_role("plant", name, odd)
            answers = await asked(here, shown, read(1, 7), write(2, 10, 1), read(3, 7))
            assert answers == [DENIED_READ, DENIED_WRITE, DENIED_READ], odd
        assert here.plant.device.seen == []


async def test_r_23_no_role_is_the_null_role(pki: Pki, rights: Rights) -> None:
    """The handshake holds, authorization hears that there is none, and its answer is no."""
    shown = pki.issue("modbus-client", "plant", "r23")
    rights.bind("r23", "operator")
    async with ruled(pki, rights) as here:
        client = await here.connect(shown)
        assert [await client.ask(read(tid, 7)) for tid in range(3)] == [DENIED_READ] * 3
        caller = next(iter(here.listener._connections)).caller
        assert caller is not None
        assert (caller.identity.roles, caller.identity.role_state) == ((), RoleState.ABSENT)
        assert any("wire.role_absent" in line for line in here.stage.story)
        client.close()
        # The policy engine, were it asked, says the same: it sees the NULL role as such.
        subject = replace(CALLER.identity, roles=(), role_state=RoleState.ABSENT)
        decision = decider(rights).decide(replace(CALLER, identity=subject), READ, NOW)
        assert isinstance(decision, Denied)
        assert "guardrail.role_state" in [reason.code for reason in decision.reasons]


def test_r_24_the_algorithm_is_provided(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(folder("policies")), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["faults"] == []
    assert {"subject.roles", "subject.role_state", "modbus.fc", "modbus.start"} <= set(report["reads"])


def test_r_25_the_design_of_the_database_is_defined(rights: Rights) -> None:
    """Its syntax is a schema that the loader holds; what a field means stands beside it."""
    schema = json.loads((folder("policies") / "schemas" / "data.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert {"grants", "role_bindings"} <= set(schema["required"])
    rights.change("grants", lambda rows: [*rows, {"id": "typo", "role": ["operator"], "actions": ["read"]}])
    with pytest.raises(PolicyError, match=r"data/grants\.json:\d+"):
        decider(rights)


async def test_r_26_the_database_is_provisioned_by_the_end_user(pki: Pki, rights: Rights) -> None:
    shown = pki.issue("modbus-client", "plant", "r26", "shift-lead")
    async with ruled(pki, None) as here:
        assert await asked(here, shown, read(1, 7)) == [DENIED_READ], "no database: nobody has rights"
    rights.bind("r26", "shift-lead")
    rights.grant("shift-lead", "read", "holding", 0, 99)
    async with ruled(pki, rights) as here:
        assert await asked(here, shown, read(1, 7)) == [value(7)]


async def test_r_27_rights_are_configurable(pki: Pki, rights: Rights) -> None:
    """Given, and taken away again, on a connection that stays."""
    shown = pki.issue("modbus-client", "plant", "r27", "viewer")
    rights.bind("r27", "viewer")
    async with ruled(pki, rights) as here:
        client = await here.connect(shown)
        assert await client.ask(write(1, 10, 5)) == DENIED_WRITE
        rights.grant("viewer", "write", "holding", 10, 10)
        here.stage.door.engine = decider(rights)
        assert await client.ask(write(2, 10, 5)) == write(2, 10, 5)[7:]
        assert await client.ask(write(3, 11, 5)) == DENIED_WRITE
        rights.change("grants", lambda rows: [row for row in rows if "viewer" not in row.get("roles", ())])
        here.stage.door.engine = decider(rights)
        assert await client.ask(write(4, 10, 5)) == DENIED_WRITE
        assert await client.ask(read(5, 7)) == DENIED_READ
        client.close()


SHIPPED_ROLES = {
    "collector": True,
    "operator": True,
    "viewer": True,
    "it-reader": False,
    "auditor": False,
    "on-call": False,
    "policy-owner": False,
    "shift-lead": False,
    "vendor": False,
}
"Each role, and whether it gives reads over Modbus by itself."


@pytest.mark.parametrize("role", SHIPPED_ROLES)
async def test_r_28_no_shipped_role_is_unchangeable(pki: Pki, rights: Rights, role: str) -> None:
    """Each is renamed, then deleted. A role without Modbus rights is denied all along, and still goes."""
    assert rights.roles() == set(SHIPPED_ROLES)
    has_modbus = SHIPPED_ROLES[role]
    old = pki.issue("modbus-client", "plant", f"r28-old-{role}", role)
    new = pki.issue("modbus-client", "plant", f"r28-new-{role}", f"own-{role}")
    rights.bind(f"r28-old-{role}", role)
    async with ruled(pki, rights) as here:
        allowed = [value(7)] if has_modbus else [DENIED_READ]
        assert await asked(here, old, read(1, 7)) == allowed
        rights.rename(role, f"own-{role}")
        rights.bind(f"r28-new-{role}", f"own-{role}")
        here.stage.door.engine = decider(rights)
        assert await asked(here, new, read(1, 7)) == allowed
        assert await asked(here, old, read(1, 7)) == [DENIED_READ]
        rights.rename(f"own-{role}", None)
        here.stage.door.engine = decider(rights)
        assert await asked(here, new, read(1, 7)) == [DENIED_READ]
    assert rights.roles() == set(SHIPPED_ROLES) - {role}


def strays(rights: Rights) -> list[str]:
    """Roles that no certificate can carry, that nobody may have, or that give nothing: the linter of R-29."""
    data = rights.data
    granted = {role for row in data["grants"] for role in row.get("roles", ())}
    bound = {role for found in data["role_bindings"].values() for role in found}
    found = [f"{role}: no certificate can carry it" for role in granted | bound if not ROLE.fullmatch(role)]
    found += [f"{role}: granted, but bound to nobody" for role in granted - bound]
    return sorted([*found, *(f"{role}: bound, but no grant names it" for role in bound - granted)])


async def test_r_29_role_values_are_consistent(pki: Pki, rights: Rights) -> None:
    assert strays(rights) == []
    rights.grant("nobodys", "read", "holding", 0, 1)
    rights.bind("r29", "rightless")
    assert strays(rights) == [
        "nobodys: granted, but bound to nobody",
        "rightless: bound, but no grant names it",
    ]
    for impossible in ("", "two,roles", "operatör", "r" * 65, "line\n"):
        with pytest.raises(IdentityError, match="cannot be a role"):
            pki.authority.issue(
                Request(profile="modbus-client", zone="plant", name="r29-x", role=impossible), pki.now
            )


async def test_r_31_rejected_is_exception_01_and_no_more(pki: Pki, rights: Rights) -> None:
    """Every function, known and unknown, from somebody who has a role but no right; then from nobody."""
    assert set(REQUESTS) == set(FUNCTIONS), "one well-formed request for each function of the table"
    section = Listener(name="modbus", zone="plant", units={1: "plc-1"})
    assert section.refusal is Refusal.ILLEGAL_FUNCTION, "what a site gets that says nothing"
    rightless = pki.issue("modbus-client", "plant", "r31-rightless", "operator")
    roleless = pki.issue("modbus-client", "plant", "r31-roleless")
    async with ruled(pki, rights) as here:
        for credential in (rightless, roleless):
            client = await here.connect(credential)
            for code in range(1, 128):
                await refused_bare(client, code, REQUESTS.get(code, bytes((code,)) + b"\0\0\0\1"))
            client.close()
        assert here.plant.device.seen == []


async def refused_bare(client: Client, code: int, pdu: bytes) -> None:
    """Exactly nine bytes: the header as it was, the function with its top bit, 01. Nothing follows."""
    client.send(adu(0x5A00 | code, pdu))
    answer = await client.reader.readexactly(9)
    assert answer == pack(">HHHBBB", 0x5A00 | code, 0, 3, 1, code | 0x80, 1)
    client.send(read(0xFFFF, 1))
    assert (await client.reader.readexactly(9))[:2] == b"\xff\xff", "what comes next is the next answer"
