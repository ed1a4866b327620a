"""The generated page is fresh, and says what the table says; ids are those of the standard."""

from pathlib import Path

from gateway.wire.opcua.owning import CHECKS
from gateway.wire.opcua.reference import document
from gateway.wire.opcua.services import BY_ANSWER, BY_NAME, KINDS, SERVICES, Treatment
from gateway.wire.opcua.unreadable import UNREADABLE, Unreadable
from gateway.wire.opcua.values import TYPES
from tests.unit.wire.opcua.samples import ua

PAGE = Path(__file__).parents[4] / "docs" / "protocols" / "opcua.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == document(), "the table has changed: gateway/wire/opcua/reference.py says how"


def test_every_row_is_on_the_page() -> None:
    page = document()
    for row in SERVICES.values():
        named = row.name if row.treatment in {Treatment.LOCAL, Treatment.REFUSED} else f"`{row.kind}`"
        assert f"| {row.request} / {row.answer} | {named} |" in page
    for name in CHECKS:
        assert BY_NAME[name].kind in page


def test_whatever_is_unreadable_is_explained() -> None:
    assert set(UNREADABLE) == set(Unreadable)
    for name, why in UNREADABLE.items():
        assert f"| `{name}` | {why} |" in document()


def test_ids_are_those_of_the_standard() -> None:
    for row in SERVICES.values():
        kind = "Type" if row.name == "SessionlessInvoke" else ""
        for suffix, number in (("Request", row.request), ("Response", row.answer)):
            assert getattr(ua.ObjectIds, f"{row.name}{suffix}{kind}_Encoding_DefaultBinary") == number
    assert len(SERVICES) == len(BY_NAME) == len(BY_ANSWER)
    assert ua.ObjectIds.ServiceFault_Encoding_DefaultBinary == 397


def test_every_service_of_the_standard_has_a_row() -> None:
    suffix = "Request_Encoding_DefaultBinary"
    every = {name.removesuffix(suffix) for name in vars(ua.ObjectIds) if name.endswith(suffix)}
    assert every - set(BY_NAME) <= {"CallMethod", "MonitoredItemCreate", "MonitoredItemModify"}, (
        "items of requests"
    )


def test_what_is_forwarded_has_an_action_and_what_is_not_has_none() -> None:
    for row in SERVICES.values():
        assert (row.action is not None) is (row.treatment in {Treatment.FORWARDED, Treatment.ANSWERED})
        assert KINDS[row.name] == row.kind
    assert KINDS["TranslateBrowsePathsToNodeIds"] == "opcua.translate_browse_paths_to_node_ids"


def test_types_have_their_numbers() -> None:
    for number, name in enumerate(TYPES):
        assert ua.VariantType(number).name == name
