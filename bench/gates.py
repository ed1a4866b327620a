"""The figures that must hold, and what a run says about them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TextIO

from msgspec import Struct

from bench.report import Row, print_json, print_table


class Of(StrEnum):
    """Which figure of a row a gate is about."""

    VALUE = "value"
    RATIO = "ratio"


class Gate(Struct, frozen=True):
    """One bound on the gateway's row of one bench."""

    bench: str
    metric: str
    of: Of
    least: float = 0.0
    most: float = float("inf")

    def holds(self, row: Row) -> bool | None:
        """None where the row's figures may not be compared."""
        figure = row.value if self.of is Of.VALUE else row.ratio
        return None if figure is None else self.least <= figure <= self.most

    def bound(self) -> str:
        """As people write it."""
        return f">= {self.least:g}" if self.least else f"<= {self.most:g}"


SUBJECT = "gateway"
GATES = (
    Gate("reads-1", "cpu_per_request", Of.RATIO, most=3),
    Gate("reads-16", "cpu_per_request", Of.RATIO, most=3),
    Gate("reads-64", "cpu_per_request", Of.RATIO, most=2),
    Gate("plain-64", "cpu_per_request", Of.RATIO, most=0.6),
    Gate("paced-1", "added_p99", Of.RATIO, most=2),
    Gate("paced-16", "added_p99", Of.RATIO, most=2),
    Gate("paced-64", "added_p99", Of.RATIO, most=2),
    Gate("writes-64", "durable_writes", Of.VALUE, least=2000),
    Gate("writes-64", "p99", Of.VALUE, most=20_000),
    Gate("policy-cached", "cpu_per_decision", Of.VALUE, most=5),
    Gate("policy-read", "cpu_per_decision", Of.VALUE, most=300),
    Gate("policy-write", "cpu_per_decision", Of.VALUE, most=300),
    Gate("policy-growth-read", "cpu_per_decision", Of.RATIO, most=1.5),
    Gate("policy-growth-write", "cpu_per_decision", Of.RATIO, most=1.5),
    Gate("policy-mixed-rehearsed", "decisions_per_core", Of.VALUE, least=150_000),
    Gate("audit-64", "durable_records", Of.RATIO, least=2),
    Gate("audit-tree", "cpu_per_record", Of.VALUE, most=5),
    Gate("opcua-1", "cpu_per_request", Of.RATIO, most=1),
    Gate("opcua-8", "cpu_per_request", Of.RATIO, most=1),
    Gate("opcua-batch", "cpu_per_request", Of.RATIO, most=1),
    Gate("opcua-items", "cpu_per_request", Of.RATIO, most=1),
    Gate("opcua-1", "added_p50", Of.VALUE, most=1000),
    Gate("opcua-batch", "values", Of.RATIO, least=0.8),
    Gate("idle-1000", "memory_per_connection", Of.VALUE, most=40_000 / 1024),
)
"""Ratios are to the peer of the bench: HAProxy, in `plain` modbus-proxy, in `policy-growth` the same with
1,000 grants, in `audit` SQLite, in `opcua` the plant's own server (`values`: asking it directly). 40 KB are
39.06 KiB."""


def print_gates(rows: Sequence[Row], to: TextIO) -> None:
    """A line for each gate that this run measured."""
    for gate in GATES:
        for row in rows:
            if (row.bench, row.metric, row.subject) != (gate.bench, gate.metric, SUBJECT):
                continue
            figure = row.value if gate.of is Of.VALUE else row.ratio
            said = {True: "holds", False: "MISSED", None: "cannot be compared"}[gate.holds(row)]
            shown = "-" if figure is None else f"{figure:.2f}"
            to.write(f"{gate.bench} {gate.metric} {gate.of} {shown}, {gate.bound()}: {said}\n")


def tell(rows: Sequence[Row], *, as_json: bool, to: TextIO) -> None:
    """A whole run: for programs, or as a table with what its gates say."""
    if as_json:
        print_json(rows, to)
        return
    print_table(rows, to)
    to.write("\n")
    print_gates(rows, to)
