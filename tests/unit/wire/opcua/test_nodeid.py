"""Texts of nodes: one for each, in the spelling that configurations are held to."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.nodes import amiss
from gateway.wire.opcua.binary import node_id
from gateway.wire.opcua.nodeid import (
    STANDARD,
    NodeId,
    NoNamespaceError,
    NotTextError,
    escape,
    find,
    parse,
    prefixes,
    read,
    said,
)

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
IDENTIFIERS = st.one_of(st.integers(0, 2**32 - 1), NAMES, st.uuids(), st.binary(max_size=20))
SPACES = (STANDARD, "urn:server", "urn:acme:plc", "urn:a;b%3Bc")


@given(st.integers(0, 65_535), IDENTIFIERS)
def test_a_node_is_read_as_it_was_written(space: int, what: int | str | UUID | bytes) -> None:
    node = NodeId(space, what)
    data = node.encode()
    assert node_id(data, 0) == len(data)
    assert read(data, 0) == (node, len(data))
    for end in range(len(data)):
        with pytest.raises(Exception):  # noqa: B017, PT011 (whatever scanners raise)
            assert node_id(data[:end], 0) <= end


@given(st.integers(0, 3), IDENTIFIERS)
def test_a_text_leads_back_to_its_node(space: int, what: int | str | UUID | bytes) -> None:
    node = NodeId(space, what)
    text = said(node, prefixes(SPACES))
    assert find(text, SPACES) == node
    assert parse(text) == (SPACES[space], what)


@given(st.integers(0, 3), IDENTIFIERS.filter(lambda what: what not in ("", b"")))
def test_tags_are_spelt_so(space: int, what: int | str | UUID | bytes) -> None:
    text = said(NodeId(space, what), prefixes(SPACES))
    if text.isprintable():
        assert amiss(text) is None, text


def test_a_namespace_is_known_and_the_only_one() -> None:
    begins = prefixes((STANDARD, "urn:twice", "urn:once", "urn:twice"))
    assert begins == ("", None, "nsu=urn:once;", None)
    for space in (1, 3, 4, 65_535):
        with pytest.raises(NoNamespaceError):
            said(NodeId(space, 1), begins)
    assert prefixes((STANDARD, STANDARD))[1] is None
    assert prefixes(()) == ("",)
    assert prefixes((STANDARD, "urn:" + "x" * 1_020, "urn:" + "x" * 1_021))[2] is None


def test_what_is_no_text_is_no_name() -> None:
    for data in (b"\xff", b"a\0b", b"\xed\xa0\x80"):
        with pytest.raises(NotTextError):
            read(NodeId(1, data).encode().replace(b"\x05", b"\x03", 1), 0)


@pytest.mark.parametrize(
    "text", ["", "x=1", "i=", "i=-1", "i=4294967296", "i=1_0", "i=²", "g=x", "b=?", "ns=2;i=1"]
)
def test_what_is_no_node(text: str) -> None:
    assert parse(text) is None
    assert find("nsu=urn:acme:plc;" + text, SPACES) is None


def test_a_server_without_the_namespace() -> None:
    assert find("nsu=urn:else;i=1", SPACES) is None
    assert find("i=85", ()) == NodeId(0, 85)
    assert escape("a%;") == "a%25%3B"
