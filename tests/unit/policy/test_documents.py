"""Policy data: what does not fit its form, or goes beyond its bounds, names file and line."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.policy import documents
from gateway.policy.bundle import Bundle
from gateway.shipped import folder
from tests.policy.questions import shipped
from tests.unit.policy.bundles import changed

HEAD = "grants:\n"
WRITE = "  - {id: g, roles: [operator], actions: [write], protocols: [modbus], assets: [plc-1],\n"
READ = "  - {id: g, roles: [operator], actions: [read], protocols: [modbus],\n"
NOBODY = "  - {id: g, subject_kinds: [nobody], actions: [read], protocols: [modbus],\n"


def area(text: str) -> str:
    """A grant with that entry."""
    return READ + f"     assets: [plc-1], modbus: [{text}]}}\n"


GRANTS: list[tuple[str, str, int, str]] = [
    # what, the grant, line of the fault, what it says
    ("unknown field", READ + "     asset: [plc-1]}\n", 2, "'asset' was unexpected"),
    (
        "unknown action",
        "  - id: g\n    roles: [a]\n    actions: [reed]\n    protocols: [modbus]\n",
        4,
        "'reed'",
    ),
    ("nobody", "  - {id: g, actions: [read], protocols: [modbus]}\n", 2, "not valid under any"),
    ("empty list", READ + "     windows: []}\n", 3, "non-empty"),
    ("obligation nobody knows", READ + "     obligations: [{type: approve}]}\n", 3, "'approve'"),
    ("wildcard in the middle", READ + "     topics: [a/#/b]}\n", 3, "a/#/b"),
    ("value as text", READ + "     limits: {a: {min: '1', max: 2}}}\n", 3, "'1' is not of type 'integer'"),
    ("unknown asset", READ + "     assets: [plc-9]}\n", 3, "plc-9 is no asset"),
    ("unknown window", READ + "     windows: [never]}\n", 3, "never is not defined"),
    ("limits upside down", READ + "     limits: {a: {min: 2, max: 1}}}\n", 3, "min is above max"),
    (
        "beyond the upper bound",
        WRITE + "     limits: {plc-1.level_sp: {min: 50, max: 951, max_delta: 1}}}\n",
        3,
        "beyond bounds.limits",
    ),
    (
        "beyond the lower bound",
        WRITE + "     limits: {plc-1.level_sp: {min: 49, max: 950, max_delta: 1}}}\n",
        3,
        "beyond bounds.limits",
    ),
    (
        "too large a step",
        WRITE + "     limits: {plc-1.level_sp: {min: 50, max: 950, max_delta: 401}}}\n",
        3,
        "max_delta",
    ),
    ("any step", WRITE + "     limits: {plc-1.level_sp: {min: 50, max: 950}}}\n", 3, "max_delta"),
    (
        "beyond writable",
        WRITE + "     modbus: [{table: holding, ranges: [[0, 1]]}]}\n",
        3,
        "beyond bounds.writable",
    ),
    (
        "across writable ranges",
        WRITE + "     modbus: [{table: holding, ranges: [[0, 19]]}]}\n",
        3,
        "beyond bounds",
    ),
    (
        "a table nobody writes",
        WRITE + "     modbus: [{table: input, ranges: [[0, 0]]}]}\n",
        3,
        "beyond bounds",
    ),
    (
        "an asset nobody writes",
        WRITE.replace("plc-1", "meter-1") + "     modbus: [{table: coil, ranges: [[0, 0]]}]}\n",
        3,
        "beyond bounds.writable",
    ),
    (
        "a range upside down",
        WRITE + "     modbus: [{table: coil, ranges: [[1, 0]]}]}\n",
        3,
        "ends before it begins",
    ),
    ("neither table nor functions", area("{}"), 3, "neither a table nor functions"),
    ("ranges of nothing", area("{ranges: [[0, 1]]}"), 3, "neither a table nor functions"),
    ("a table without ranges", area("{table: coil}"), 3, "does not say which `ranges`"),
    ("ranges without a table", area("{fcs: [7], ranges: [[0, 1]]}"), 3, "`ranges` means nothing"),
    ("functions of two kinds", area("{fcs: [7, 8], subs: [0]}"), 3, "not of one kind"),
    ("a table's function without a table", area("{fcs: [3]}"), 3, "not of one kind"),
    (
        "a table for a function without",
        area("{table: coil, ranges: [[0, 1]], fcs: [7]}"),
        3,
        "no table",
    ),
    (
        "a table and sub-functions",
        area("{table: coil, ranges: [[0, 1]], subs: [0]}"),
        3,
        "means nothing",
    ),
    ("any diagnostic", area("{fcs: [8]}"), 3, "does not say which `subs`"),
    ("any interface", area("{fcs: [43]}"), 3, "does not say which `meis`"),
    ("any file", area("{fcs: [20], records: [[0, 1]]}"), 3, "does not say which `files`"),
    ("any record", area("{fcs: [20], files: [[1, 1]]}"), 3, "does not say which `records`"),
    ("records upside down", area("{fcs: [20], files: [[1, 1]], records: [[2, 1]]}"), 3, "before it"),
    ("no functions", area("{fcs: []}"), 3, "non-empty"),
    ("a program function", area("{fcs: [90]}"), 3, "function 90 is never forwarded"),
    ("a reserved function", area("{table: coil, ranges: [[0, 1]], fcs: [1, 126]}"), 3, "126 is never"),
    ("a user's function", area("{fcs: [65]}"), 3, "65 is never forwarded"),
    ("a restart", area("{fcs: [8], subs: [0, 1]}"), 3, "sub-function 1 of function 8 is never"),
    ("silence", area("{fcs: [8], subs: [4]}"), 3, "sub-function 4 of function 8 is never"),
    ("clearing counters", area("{fcs: [8], subs: [10]}"), 3, "sub-function 10 of function 8 is never"),
    ("CANopen", area("{fcs: [43], meis: [14, 13]}"), 3, "MEI type 13 of function 43 is never"),
    (
        "records nobody writes",
        WRITE + "     modbus: [{fcs: [20, 21], files: [[1, 1]], records: [[0, 9]]}]}\n",
        3,
        "records 0-9 of files 1-1 of plc-1 are beyond bounds.writable",
    ),
    ("nobody everywhere", NOBODY + "     assets: [plc-1]}\n", 2, "gives nobody the same on every listener"),
    (
        "nobody as admin",
        NOBODY.replace("[read]", "[admin]") + "     listeners: [legacy]}\n",
        2,
        "lets nobody act on the gateway",
    ),
    (
        "nobody by name",
        "  - {id: g, subjects: ['anonymous:legacy'], actions: [read], protocols: [modbus]}\n",
        2,
        "does not match",
    ),
    (
        "twice the same id",
        READ + "     assets: [plc-1]}\n" + READ + "     assets: [plc-1]}\n",
        4,
        "two grants g",
    ),
]


OPCUA = "  - {id: g, roles: [operator], protocols: [opcua], assets: [plc-1],\n     actions: "
ADMIN = "  - {id: g, roles: [shift-lead], actions: [admin], protocols: [https],\n     "


def nodes(actions: str, entry: str) -> str:
    """A grant with that entry."""
    return f"{OPCUA}[{actions}], opcua: [{entry}]}}\n"


LEVEL = '"nsu=urn:x;s=Level"'
READ_BACK = "obligations: [{type: readback, tolerance: 0}]}\n"
START = '"nsu=urn:x;s=Start"'
GRANTS += [
    ("no nodes", nodes("read", "{}"), 3, "names neither nodes, paths, nor services"),
    ("an index", nodes("read", '{nodes: ["ns=2;s=Level"]}'), 3, "does not match"),
    ("the standard namespace", nodes("read", '{nodes: ["nsu=http://opcfoundation.org/UA/;i=1"]}'), 3, "URI"),
    (
        "a service nobody knows",
        nodes("read", f"{{nodes: [{LEVEL}], services: [Reed]}}"),
        3,
        "never forwarded",
    ),
    (
        "of another action",
        nodes("read", f"{{nodes: [{LEVEL}], services: [Write]}}"),
        3,
        "none of the grant's",
    ),
    ("a service of no node", nodes("read", "{services: [Read]}"), 3, "Read: of which nodes?"),
    ("a path that is none", nodes("read", "{paths: [Plant/#]}"), 3, "does not match"),
    ("written by path", nodes("write", "{paths: [/Plant/#]}"), 3, "nothing is changed by a path"),
    ("written by pattern", nodes("write", '{nodes: ["nsu=urn:x;s=L*"]}'), 3, "is not one node"),
    ("who may write", nodes("write", f"{{nodes: [{LEVEL}], attributes: [WriteMask]}}"), 3, "never written"),
    ("the server itself", nodes("write", "{nodes: [i=2267]}"), 3, "server's own nodes are never written"),
    ("a node nobody writes", nodes("write", f"{{nodes: [{LEVEL}]}}"), 3, "beyond bounds.writable"),
    (
        "a node read back",
        f"{OPCUA}[write], opcua: [{{nodes: [{LEVEL}]}}],\n     {READ_BACK}",
        4,
        "over opcua is not read back",
    ),
    ("calls of anything", nodes("call", f"{{nodes: [{LEVEL}]}}"), 3, "does not say which `methods`"),
    ("methods of anything", nodes("call", f"{{methods: [{START}]}}"), 3, "of which objects"),
    ("a method of the server", nodes("call", f"{{nodes: [{LEVEL}], methods: [i=12886]}}"), 3, "never called"),
    (
        "arguments upside down",
        nodes("call", f"{{nodes: [{LEVEL}], methods: [{START}], arguments: [{{min: 2, max: 1}}]}}"),
        3,
        "min is above max",
    ),
    (
        "half a bound",
        nodes("call", f"{{nodes: [{LEVEL}], methods: [{START}], arguments: [{{min: 2}}]}}"),
        3,
        "max",
    ),
    ("arguments of a node", nodes("read", f"{{nodes: [{LEVEL}], arguments: []}}"), 3, "of no method"),
    (
        "a way that is none",
        "  - {id: g, roles: [operator], actions: [write], protocols: [mqtt]}\n",
        2,
        "over mqtt",
    ),
    ("no act", ADMIN + "scopes: [gateway]}\n", 2, "does not say which acts"),
    ("an act nobody knows", ADMIN + "operations: [admin.delete]}\n", 3, "there is no act admin.delete"),
    ("an act by the wrong way", ADMIN + "operations: [control.reload]}\n", 3, "no act control.reload"),
    ("an act on an asset", ADMIN + "operations: [admin.approve], assets: [plc-1]}\n", 3, "about no asset"),
    ("a scope that is none", ADMIN + "operations: [admin.approve], scopes: [plc-1]}\n", 3, "plc-1"),
    (
        "a scope of a read",
        READ + "     assets: [plc-1], scopes: [gateway]}\n",
        3,
        "is for acts on the gateway",
    ),
    (
        "glass of admin",
        ADMIN + "operations: [admin.approve], break_glass: true}\n",
        3,
        "no acts on the gateway",
    ),
    ("glass that waits", READ + "     break_glass: true, approval: {by: a}}\n", 3, "waits for nobody"),
    (
        "glass for programs",
        NOBODY.replace("nobody", "workload") + "     break_glass: true}\n",
        2,
        "only people",
    ),
    ("no glass", READ + "     break_glass: false}\n", 3, "True was expected"),
    ("an approval by nobody", READ + "     approval: {within_s: 9}}\n", 3, "'by' is a required"),
    ("an approval for ever", READ + "     approval: {by: a, within_s: 86401}}\n", 3, "86401"),
    ("half a rate", READ + "     obligations: [{type: rate, n: 1}]}\n", 3, "'per_s' is a required"),
    ("a word too many", READ + "     obligations: [{type: audit, n: 1}]}\n", 3, "'n' was unexpected"),
    ("two expiries", READ + "     obligations: [{type: expire, within_ms: 1, at_ns: 1}]}\n", 3, "too many"),
    ("masked in the plant", READ + "     obligations: [{type: mask}]}\n", 3, "for what IT is told only"),
    ("a read read back", READ + "     obligations: [{type: readback, tolerance: 0}]}\n", 3, "only a write"),
    ("a mode nobody knows", READ + "     modes: [party]}\n", 3, "party is no mode"),
    (
        "any tag over https",
        "  - {id: g, roles: [operator], actions: [write], protocols: [https], assets: [plc-1]}\n",
        2,
        "does not say which `tags`",
    ),
    (
        "a tag nobody writes",
        "  - {id: g, roles: [a], actions: [write], protocols: [https], assets: [plc-1], tags: [a]}\n",
        2,
        "a of plc-1 is beyond bounds.writable",
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "what"), [row[1:] for row in GRANTS], ids=[row[0] for row in GRANTS]
)
def test_grants_are_refused(tmp_path: Path, text: str, line: int, what: str) -> None:
    faults = documents.faults(changed(tmp_path, {"data/grants.yaml": HEAD + text}))
    found = [(fault.where, fault.what) for fault in faults]
    assert any(where == f"data/grants.yaml:{line}" and what in said for where, said in found), found


def test_a_grant_at_its_bounds_is_taken(tmp_path: Path) -> None:
    text = (
        WRITE
        + "     modbus: [{table: holding, ranges: [[0, 0], [10, 19]]}, {table: coil, ranges: [[0, 1]]}],\n"
    )
    text += (
        "     limits: {plc-1.level_sp: {min: 50, max: 950, max_delta: 400}, plc-1.other: {min: 0, max: 9}}}\n"
    )
    assert documents.faults(changed(tmp_path, {"data/grants.yaml": HEAD + text})) == []


FILES = """\
bounds:
  writes_60s: 1
  previous_age_ms: 1
  writable:
    plc-1:
      input: [[0, 4]]
      files:
        - {files: [[1, 2]], records: [[0, 9]]}
        - {files: [[3, 3]], records: [[0, 99]]}
  limits: {}
"""
RECORDS: list[tuple[str, str, bool]] = [
    ("[[1, 2]]", "[[0, 9]]", True),
    ("[[1, 1], [3, 3]]", "[[0, 4], [5, 9]]", True),
    ("[[3, 3]]", "[[0, 99]]", True),
    ("[[1, 2]]", "[[0, 10]]", False),
    ("[[2, 3]]", "[[0, 9]]", False),
    ("[[1, 1], [3, 3]]", "[[0, 99]]", False),
    ("[[4, 4]]", "[[0, 0]]", False),
]


@pytest.mark.parametrize(("files", "records", "taken"), RECORDS)
def test_written_records_stay_within_bounds(tmp_path: Path, files: str, records: str, taken: bool) -> None:
    grants = HEAD + WRITE + f"     modbus: [{{fcs: [21], files: {files}, records: {records}}}]}}\n"
    faults = documents.faults(changed(tmp_path, {"data/grants.yaml": grants, "data/bounds.yaml": FILES}))
    assert all("beyond bounds.writable" in fault.what for fault in faults)
    assert (faults == []) is taken


def test_a_table_that_overlays_what_is_written_has_bounds_too(tmp_path: Path) -> None:
    grants = HEAD + WRITE + "     modbus: [{table: input, ranges: [[0, 4]]}]}\n"
    bundle = changed(tmp_path, {"data/grants.yaml": grants, "data/bounds.yaml": FILES})
    assert documents.faults(bundle) == []


def test_every_kind_of_entry_is_taken(tmp_path: Path) -> None:
    areas = [
        "{table: coil, ranges: [[0, 1]]}",
        "{table: holding, ranges: [[0, 1]], fcs: [3, 23, 24]}",
        "{fcs: [7, 11, 12, 17]}",
        "{fcs: [8], subs: [0, 2, 18]}",
        "{fcs: [43], meis: [14]}",
        "{fcs: [20, 21], files: [[1, 65535]], records: [[0, 9999]]}",
    ]
    grants = HEAD + area(", ".join(areas))
    assert documents.faults(changed(tmp_path, {"data/grants.yaml": grants})) == []


def test_a_grant_to_nobody_names_its_listener(tmp_path: Path) -> None:
    grants = HEAD + NOBODY + "     listeners: [legacy], assets: [plc-1]}\n"
    assert documents.faults(changed(tmp_path, {"data/grants.yaml": grants})) == []


def test_no_write_on_a_safety_system(tmp_path: Path) -> None:
    assets = (folder("policies") / "data" / "assets.yaml").read_text()
    safety = assets.replace("plc-1: {kind: plc", "plc-1: {kind: safety")
    faults = documents.faults(changed(tmp_path, {"data/assets.yaml": safety}))
    assert [fault.what for fault in faults] == [
        "grant operator-level-setpoint: plc-1 is a safety system, which is read only",
        "grant operator-pump: plc-1 is a safety system, which is read only",
        "grant vendor-tunes: plc-1 is a safety system, which is read only",
        "grant on-call-pump: plc-1 is a safety system, which is read only",
    ]
    assert all(fault.where.startswith("data/grants.yaml:") for fault in faults)


OTHERS: list[tuple[str, str, str, str]] = [
    (
        "data/windows.yaml",
        "windows:\n  w: {days: [mon], from: '06:00', to: '14:00', zone: Mars/Olympus}\n",
        "2",
        "no time",
    ),
    (
        "data/windows.yaml",
        "windows:\n  w: {days: [mon], from: '06:00', to: '06:00', zone: UTC}\n",
        "2",
        "empty or endless",
    ),
    (
        "data/windows.yaml",
        "windows:\n  w: {days: [mon], from: '6:00', to: '14:00', zone: UTC}\n",
        "2",
        "6:00",
    ),
    ("data/windows.yaml", "windows:\n  w: {on_request: true}\n", "2", "'most_minutes' is a required"),
    ("data/windows.yaml", "windows:\n  w: {on_request: true, most_minutes: 9, zone: UTC}\n", "2", "'zone'"),
    ("data/modes.yaml", "modes: []\n", "1", "non-empty"),
    ("data/role_bindings.yaml", "role_bindings:\n  hmi-1: [operator]\n", "2", "hmi-1"),
    ("data/assets.yaml", "assets:\n  plc-1: {kind: plc}\n", "2", "'zone' is a required property"),
    ("data/conduits.yaml", "conduits:\n  - {from: it, to: plant, protocols: [ftp]}\n", "2", "'ftp'"),
    ("data/bounds.yaml", "bounds:\n  writes_60s: -1\n", "2", "-1 is less than the minimum"),
]


@pytest.mark.parametrize(("name", "text", "line", "what"), OTHERS)
def test_other_documents_are_refused(tmp_path: Path, name: str, text: str, line: str, what: str) -> None:
    found = [(fault.where, fault.what) for fault in documents.faults(changed(tmp_path, {name: text}))]
    assert any(where == f"{name}:{line}" and what in said for where, said in found), found


@pytest.mark.parametrize("name", ["assets", "conduits", "role_bindings", "bounds", "grants"])
def test_documents_that_core_needs_must_be_there(name: str) -> None:
    found = documents.faults(without(name))
    assert any(name in fault.what for fault in found)


def without(name: str) -> Bundle:
    bundle = shipped()
    data: dict[str, Any] = {key: value for key, value in bundle.data.items() if key != name}
    return msgspec.structs.replace(bundle, data=data)


def test_windows_may_be_missing_where_no_grant_asks_for_them() -> None:
    bundle = without("windows")
    timeless = [grant for grant in bundle.data["grants"] if "windows" not in grant]
    assert documents.faults(msgspec.structs.replace(bundle, data={**bundle.data, "grants": timeless})) == []
