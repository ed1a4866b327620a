"""The functions that policy may call. A call of anything else is refused when the bundle is loaded.

Only functions that answer alike in OPA and regorus, always answer alike (no clock, dice, network), and
cannot lose a number's exactness. A misspelt name is undefined in some engines, and under `not` undefined
allows: so the list is closed.
"""

ALLOWED: dict[str, int] = {
    # name -> number of arguments
    "abs": 1,
    "array.concat": 2,
    "array.slice": 3,
    "bits.and": 2,
    "bits.lsh": 2,
    "bits.negate": 1,
    "bits.or": 2,
    "bits.rsh": 2,
    "bits.xor": 2,
    "concat": 2,
    "contains": 2,
    "count": 1,
    "endswith": 2,
    "glob.match": 3,
    "indexof": 2,
    "intersection": 1,
    "is_array": 1,
    "is_boolean": 1,
    "is_null": 1,
    "is_number": 1,
    "is_object": 1,
    "is_set": 1,
    "is_string": 1,
    "max": 1,
    "min": 1,
    "net.cidr_contains": 2,
    "numbers.range": 2,
    "object.get": 3,
    "object.keys": 1,
    "object.remove": 2,
    "object.union": 2,
    "regex.match": 2,
    "replace": 3,
    "sort": 1,
    "split": 2,
    "startswith": 2,
    "substring": 3,
    "sum": 1,
    "trim": 2,
    "trim_prefix": 2,
    "trim_suffix": 2,
    "union": 1,
}

BANNED: dict[str, str] = {
    # first part of a name, or a whole name -> why
    "http": "policy has no network",
    "net.lookup_ip_addr": "policy has no network",
    "opa": "policy does not ask about its engine",
    "rand": "policy throws no dice",
    "uuid": "policy throws no dice",
    "time": "policy has no clock: ask input.time.windows",
    "print": "a decision writes nothing; use it in tests only",
    "rego": "policy does not read policy",
    "walk": "a rule names the fields that it reads",
}

IN_TESTS: dict[str, int] = {"print": 1, "json.patch": 2, "json.remove": 2, "json.filter": 2}
"What only modules under tests/ may call as well."


def why_not(name: str) -> str:
    """Why that function may not be called."""
    reason = BANNED.get(name) or BANNED.get(name.split(".", 1)[0])
    return reason or "neither a rule of this bundle nor a function on the list (gateway/policy/functions.py)"
