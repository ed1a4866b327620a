"""Windows as a bundle defines them, put into a question: two bundles can call different hours by one name.

A question carries the names of the windows that were open. Asked under another bundle it must carry those
that are open *there* at its moment. What no schedule says (a window that only people open) stays as it was.
"""

from collections.abc import Mapping
from typing import Any

from gateway.author.form import Question
from gateway.model.moment import SECOND
from gateway.policy.facts import windows_now

MINUTE = 60 * SECOND
"Windows begin and end with minutes."
MOST_MINUTES = 20_000
"Minutes remembered, two weeks of them; beyond it all are forgotten and worked out again."


class Hours:
    """The windows of one bundle."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._scheduled = {name: each for name, each in definitions.items() if "from" in each}
        self._open: dict[int, tuple[str, ...]] = {}

    def at(self, wall_ns: int) -> tuple[str, ...]:
        """Names of the windows that the schedule opens at that moment."""
        minute = wall_ns // MINUTE
        found = self._open.get(minute)
        if found is None:
            if len(self._open) >= MOST_MINUTES:
                self._open.clear()
            found = self._open[minute] = windows_now(self._scheduled, wall_ns)
        return found

    def put(self, question: Question) -> Question:
        """The question with the windows of this bundle; the same object where nothing differs."""
        time = question["time"]
        others = [name for name in time["windows"] if name not in self._scheduled]
        windows = sorted({*others, *self.at(time["ns"])}) if self._scheduled else others
        if windows == time["windows"]:
            return question
        return {**question, "time": {**time, "windows": windows}}
