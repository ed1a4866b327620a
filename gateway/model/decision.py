"""Policy's answer about one operation. Not a boolean: what allows and what denies are different types."""

from enum import StrEnum

from msgspec import Struct

from gateway.model.stage import Stage


class Origin(StrEnum):
    """Where an answer came from."""

    EVALUATED = "evaluated"
    CACHED = "cached"
    "An equal question was evaluated before, under the same revision (see `policy/cache.py`)."
    FALLBACK = "fallback"
    "The embedded engine decided, because the OPA server that should have was away."
    UNASKED = "unasked"
    "Denied without asking: the wire could not read it, or the engine failed."


class Reason(Struct, frozen=True):
    """Why. Codes are stable slugs: the same in Rego, tests, records and answers to operators."""

    code: str
    kind: str
    "`grant`, `guardrail`, `base`, `site`, `default`, `obligation`, `engine`, `wire`."
    msg: str = ""


class Obligation(Struct, frozen=True):
    """Something the gateway must do if it acts. One that it does not know is a denial."""

    type: str
    params: tuple[tuple[str, str | int | float | bool | None], ...] = ()
    "Sorted by name."

    def param(self, name: str) -> str | int | float | bool | None:
        """The parameter of that name, or null."""
        return dict(self.params).get(name)


class Approval(Struct, frozen=True, kw_only=True):
    """People agreed to exactly one operation of one identity, once."""

    id: str
    "ULID of the request that they answered."
    by: tuple[str, ...]
    "Subjects of the people who approved."


class Allowed(Struct, frozen=True, kw_only=True):
    """At least one grant matched and nothing denied."""

    revision: str
    "Digest of the bundle that said so."
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    grants: tuple[str, ...] = ()
    origin: Origin = Origin.EVALUATED
    evaluation: str = ""
    "ULID of the question whose evaluation this answer is."
    question: bytes = b""
    "The `dmz.input/1` document that was evaluated, as JSON: exactly the bytes the engine was given."
    approval: Approval | None = None
    "Whose approval policy took into account; it is used up before the act."


class Denied(Struct, frozen=True, kw_only=True):
    """The default."""

    revision: str
    reasons: tuple[Reason, ...]
    grants: tuple[str, ...] = ()
    origin: Origin = Origin.EVALUATED
    evaluation: str = ""
    question: bytes = b""


Decision = Allowed | Denied


class Waived(Struct, frozen=True, kw_only=True):
    """Denied, and let through because listener or asset is not enforced yet. Only the guard makes it."""

    denied: Denied
    stage: Stage
    "`observe` or `monitor`."

    @property
    def revision(self) -> str:
        """Digest of the bundle that denied."""
        return self.denied.revision

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """What it would have been denied for."""
        return self.denied.reasons

    @property
    def evaluation(self) -> str:
        """ULID of the question whose evaluation this is."""
        return self.denied.evaluation


Passed = Allowed | Waived
"What a permit can be made of."


class Why(StrEnum):
    """Why a frame is refused; the wire says it in the peer's own words (`wire/<protocol>/refusal.py`)."""

    NO_ROLE = "no_role"
    UNMAPPED_UNIT = "unmapped_unit"
    UNKNOWN_FUNCTION = "unknown_function"
    ILLEGAL_VALUE = "illegal_value"
    ILLEGAL_ADDRESS = "illegal_address"
    DENIED = "denied"
    NOT_RECORDED = "not_recorded"
    BUSY = "busy"
    NO_PATH = "no_path"
    NO_ANSWER = "no_answer"
