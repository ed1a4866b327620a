"""Counters and gauges, told as Prometheus text (exposition format 0.0.4)."""

from collections.abc import Callable, Mapping

PREFIX = "dmz_"


class Metrics:
    """Counts by name; gauges are asked when somebody looks."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._gauges: list[Callable[[], Mapping[str, float]]] = []

    def count(self, name: str, n: int = 1) -> None:
        """One more of these."""
        self.counters[name] = self.counters.get(name, 0) + n

    def gauges(self, ask: Callable[[], Mapping[str, float]]) -> None:
        """Add a source of gauges; its names may carry labels, `link_up{asset="plc-1"}`."""
        self._gauges.append(ask)

    def text(self) -> str:
        """Everything, for `/metrics`."""
        lines = []
        for name, value in sorted(self.counters.items()):
            lines += [f"# TYPE {PREFIX}{name}_total counter", f"{PREFIX}{name}_total {value}"]
        seen: set[str] = set()
        for ask in self._gauges:
            for name, number in sorted(ask().items()):
                family = name.partition("{")[0]
                if family not in seen:
                    seen.add(family)
                    lines.append(f"# TYPE {PREFIX}{family} gauge")
                lines.append(f"{PREFIX}{name} {number:g}")
        return "\n".join(lines) + "\n"
