"""The files that a person reviews: grants, tests and what was seen. Nothing of them is in force."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.author.learn import Learning
from gateway.author.learned_tests import Rows
from gateway.author.proposal import Proposal
from gateway.model.errors import GatewayError
from gateway.policy.release import rfc3339

GRANTS, TESTS, README = "grants.learned.yaml", "learned_tests.yaml", "README.md"


def write(folder: Path, learning: Learning, found: list[Proposal], rows: Rows) -> list[Path]:
    """Write all three. Raises GatewayError where one of them is there already: it may have been edited."""
    files = {
        GRANTS: "\n".join(_grants(learning, found)) + "\n",
        TESTS: "\n".join(_tests(rows)) + "\n",
        README: "\n".join(_readme(learning, found, rows)) + "\n",
    }
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise GatewayError(f"{folder} has {', '.join(there)} already; name another folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with (folder / name).open("x") as out:
            out.write(text)
    return [folder / name for name in files]


def _grants(learning: Learning, found: list[Proposal]) -> Iterator[str]:
    yield f"# Learnt from {learning.count} operations, for review. Not in force: move what is right into the"
    yield "# `grants:` of data/grants.yaml, and learned_tests.yaml into tests/."
    yield "# Flow style is JSON, which is YAML."
    yield "grants:"
    for proposal in found:
        seen = proposal.evidence
        yield ""
        yield f"  # {seen['operations']} operations, {seen['questions']} different by value or time"
        yield f"  # from {rfc3339(seen['first_ns'])} to {rfc3339(seen['last_ns'])}"
        yield f"  # on {' '.join(seen['days'])}, hours {seen['hours_utc']} (UTC): consider a window"
        yield f"  # from {_quoted(seen['sources'])}; {_quoted(seen['kinds'])}"
        if (
            proposal.grant["actions"] != ["read"]
            and "limits" not in proposal.grant
            and "modbus" in proposal.grant
        ):
            yield "  # CAUTION: values of no tag are written here, so no limit holds them"
        for limit in proposal.grant.get("limits", {}).values():
            if "max_delta" not in limit:
                yield "  # CAUTION: no max_delta, because the value before was not always known"
                break
        first = True
        for name, value in proposal.grant.items():
            yield f"  {'- ' if first else '  '}{name}: {json.dumps(value)}"
            first = False


def _quoted(words: list[str]) -> str:
    """Words from a record or a file, so that none of them can end the comment and begin a grant."""
    return " ".join(map(json.dumps, words))


def _tests(rows: Rows) -> Iterator[str]:
    yield "# Learnt with grants.learned.yaml: what was seen is allowed, its neighbours are denied."
    yield "bases:"
    for name, question in rows.bases.items():
        yield f"  {name}: {json.dumps(question)}"
    yield "cases:"
    for case in rows.cases:
        yield f"  - {json.dumps(case)}"


def _readme(learning: Learning, found: list[Proposal], rows: Rows) -> Iterator[str]:
    yield "# What was learnt"
    yield ""
    yield f"{learning.count} operations gave {len(found)} grants (`{GRANTS}`) and {len(rows.cases)}"
    yield f"tests (`{TESTS}`; {rows.denials} expect a denial). {rows.allowed} neighbours made no test,"
    yield f"because other grants of revision {learning.answers.revision[:12]} give them."
    yield ""
    yield "Nothing here is in force. What was seen is not what is right: an intruder's requests are learnt"
    yield "like anybody's. Read each grant, ask whose it is, narrow it, give it a window where its hours say"
    yield "so; then `policy check`, `policy test`, `policy diff`, `policy replay`."
    yield ""
    yield "| grant | operations | from | to |"
    yield "|---|---|---|---|"
    for proposal in found:
        seen = proposal.evidence
        yield (
            f"| {proposal.grant['id']} | {seen['operations']} | {rfc3339(seen['first_ns'])} "
            f"| {rfc3339(seen['last_ns'])} |"
        )
    if learning.refused:
        yield ""
        yield "## Not learnable"
        yield ""
        yield "No grant can give these; a guardrail, a rule or a bound of the bundle is against it."
        yield ""
        for refusal, count in learning.refused.most_common():
            asset = refusal.asset or "no asset"
            yield f"- {count} × {_quoted([refusal.subject, refusal.kind, asset])}: {refusal.why}"
    for name, codes in rows.refused:
        yield f"- {name} was seen and is still denied: {', '.join(codes)}"


def as_json(learning: Learning, found: list[Proposal], rows: Rows) -> dict[str, Any]:
    """For programs."""
    return {
        "revision": learning.answers.revision,
        "operations": learning.count,
        "grants": [{"grant": each.grant, "evidence": each.evidence} for each in found],
        "tests": len(rows.cases),
        "denials": rows.denials,
        "still_denied": [{"name": name, "codes": codes} for name, codes in rows.refused],
        "not_learnable": [
            {"why": each.why, "subject": each.subject, "kind": each.kind, "asset": each.asset, "count": count}
            for each, count in learning.refused.most_common()
        ],
    }
