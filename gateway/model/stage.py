"""How far policy is enforced: a site begins by watching, and ends by refusing."""

from enum import StrEnum


class Stage(StrEnum):
    """Of a listener or an asset. Guardrails, strict framing and everything towards IT act in all of them."""

    OBSERVE = "observe"
    "Decide and record only: what policy would deny passes, and its window or intent says `would_deny`."
    MONITOR = "monitor"
    "The same, and each would-be denial is a record of its own, as a denial would be."
    ENFORCE = "enforce"
    "What policy denies is refused."


STRICTNESS = (Stage.OBSERVE, Stage.MONITOR, Stage.ENFORCE)
"From the loosest to the strictest."
