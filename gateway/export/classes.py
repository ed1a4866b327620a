"""The classes of OCSF that records become, and how their numbers and names go together (OCSF 1.8.0).

`type_uid` is class_uid * 100 + activity_id; names stand beside numbers so that a person can search for them.
"""

from typing import Any

from msgspec import Struct

VERSION = "1.8.0"
"Of the schema."
OTHER = 99
"Activity, status or type that OCSF has no number for; its name then says what it is."


class EventClass(Struct, frozen=True):
    """One class of events."""

    uid: int
    name: str
    category: int
    category_name: str
    activities: dict[int, str]
    "The ones used here."
    schema: str
    "Its name in the schema."


API_ACTIVITY = EventClass(
    6003,
    "API Activity",
    6,
    "Application Activity",
    {1: "Create", 2: "Read", 3: "Update", 4: "Delete"},
    "api_activity",
)
AUTHENTICATION = EventClass(
    3002,
    "Authentication",
    3,
    "Identity & Access Management",
    {1: "Logon", 2: "Logoff"},
    "authentication",
)
FINDING = EventClass(
    2004, "Detection Finding", 2, "Findings", {1: "Create", 2: "Update", 3: "Close"}, "detection_finding"
)
LIFECYCLE = EventClass(
    6002,
    "Application Lifecycle",
    6,
    "Application Activity",
    {3: "Start", 4: "Stop"},
    "application_lifecycle",
)
STATE_CHANGE = EventClass(
    5019, "Device Config State Change", 5, "Discovery", {1: "Log"}, "device_config_state_change"
)
LOG_ACTIVITY = EventClass(
    1008,
    "Event Log Activity",
    1,
    "System Activity",
    {1: "Clear", 2: "Delete", 3: "Export", 4: "Archive", 5: "Rotate", 6: "Start", 7: "Stop"},
    "event_log_actvity",  # spelt so in the schema
)
CLASSES = {
    each.uid: each for each in (API_ACTIVITY, AUTHENTICATION, FINDING, LIFECYCLE, STATE_CHANGE, LOG_ACTIVITY)
}

INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}
SUCCESS, FAILURE = 1, 2
STATUSES = {0: "Unknown", 1: "Success", 2: "Failure"}
NEW, RESOLVED = 1, 4
FINDING_STATUSES = {1: "New", 4: "Resolved"}
ALLOWED, DENIED, OBSERVED = 1, 2, 3
ACTIONS = {
    ALLOWED: ("Allowed", 1, "Allowed"),
    DENIED: ("Denied", 2, "Blocked"),
    OBSERVED: ("Observed", 17, "Logged"),
}
"By `action_id` of the security_control profile: its name, and `disposition_id` with its name."


class Shape(Struct, frozen=True, kw_only=True):
    """What a record becomes."""

    of: EventClass
    activity: int
    activity_name: str = ""
    "For OTHER."
    severity: int = INFORMATIONAL
    status: int | None = None
    status_name: str = ""
    "For OTHER."
    action: int | None = None
    "Of the security_control profile; null where nothing was decided."


def numbers(shape: Shape) -> dict[str, Any]:
    """The members by which every event is sorted."""
    of = shape.of
    activity = shape.activity_name or of.activities.get(shape.activity, "Other")
    told: dict[str, Any] = {
        "class_uid": of.uid,
        "class_name": of.name,
        "category_uid": of.category,
        "category_name": of.category_name,
        "activity_id": shape.activity,
        "activity_name": activity,
        "type_uid": of.uid * 100 + shape.activity,
        "type_name": f"{of.name}: {activity}",
        "severity_id": shape.severity,
        "severity": SEVERITIES[shape.severity],
    }
    if shape.status is not None:
        named = FINDING_STATUSES if of is FINDING else STATUSES
        told |= {"status_id": shape.status, "status": shape.status_name or named.get(shape.status, "Other")}
    if shape.action is not None:
        action, disposition, name = ACTIONS[shape.action]
        told |= {"action_id": shape.action, "action": action}
        told |= {"disposition_id": disposition, "disposition": name}
    return told
