"""Why policy is not asked: what the gateway cannot read, policy cannot allow (invariant 2)."""

from enum import StrEnum

from gateway.wire.opcua.nodeid import MOST_ID, MOST_RANGE


class Unreadable(StrEnum):
    """As in `Operation.unreadable`; the denial's reason is `wire.<name>`."""

    PARTIAL_TAG = "partial_tag"
    NOT_A_NUMBER = "not_a_number"
    BEYOND_2_53 = "beyond_2_53"
    OPAQUE_VALUE = "opaque_value"
    NO_VALUE = "no_value"
    BAD_QUALITY = "bad_quality"
    NOT_TEXT = "not_text"
    TOO_LONG = "too_long"
    UNKNOWN_NAMESPACE = "unknown_namespace"
    UNKNOWN_DETAILS = "unknown_details"


UNREADABLE: dict[Unreadable, str] = {
    Unreadable.PARTIAL_TAG: (
        "It would change part of a tag: an index range, an attribute that is not the value, another type."
    ),
    Unreadable.NOT_A_NUMBER: "NaN or infinite: every comparison with a limit would be false.",
    Unreadable.BEYOND_2_53: "Too large for an exact comparison in JSON.",
    Unreadable.OPAQUE_VALUE: "A structure, whose content the gateway does not read.",
    Unreadable.NO_VALUE: "A write that has no value.",
    Unreadable.BAD_QUALITY: "A write of a status that is not good, which policy is not told.",
    Unreadable.NOT_TEXT: "A name or text that is not UTF-8, or has a NUL in it.",
    Unreadable.TOO_LONG: (
        f"The identifier of a node longer than {MOST_ID} bytes, or an index range longer than {MOST_RANGE}."
    ),
    Unreadable.UNKNOWN_NAMESPACE: (
        "A namespace that the server does not have, has twice, or calls endlessly: no name that lasts."
    ),
    Unreadable.UNKNOWN_DETAILS: "Details of a history read that are none of the known kinds.",
}
"Every one has a row; a test holds this."
