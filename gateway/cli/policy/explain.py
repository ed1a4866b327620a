"""dmz-gateway policy explain: why something was allowed or denied, and what would change that.

    policy explain DECISION-ID -c gateway.yaml          a recorded decision, by the bundle that made it
    policy explain DECISION-ID --journal DIR            the same, of a data folder or a copy of a journal
    policy explain --input FILE --bundle BUNDLE         a question that nobody has asked yet
    policy explain --who-may write --asset plc-1 --bundle BUNDLE     who has been given what

Exit 0: explained; 1: nobody has that right (`--who-may`); 2: there is no such decision, or no bundle for it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from gateway.author import decisions, words
from gateway.author.decisions import Decided
from gateway.author.explain import Explanation, explain
from gateway.author.form import UnaskableError, complete
from gateway.author.nearest import Change
from gateway.author.who_may import who_may
from gateway.author.words import Question, Units
from gateway.cli.policy import given
from gateway.config.read import read
from gateway.config.settings import Settings
from gateway.model.errors import Fault, GatewayError, PolicyError
from gateway.model.operation import Action
from gateway.policy import documents
from gateway.policy.bundle import Bundle, parse_yaml
from gateway.policy.loader import load

OWN = ("format", "lock")
"Files by which a data folder is a gateway's, so that the index of `audit search` is kept in it."


def add(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `policy explain`."""
    parser = given.command(below, "explain", "why something was allowed or denied, and what would change it")
    parser.add_argument("id", nargs="?", metavar="DECISION-ID", help="id of a record, or of its evaluation")
    parser.add_argument("-c", "--config", type=Path, help="gateway.yaml: where journal and bundles are")
    parser.add_argument("--journal", "--data", type=Path, metavar="DIR", help="data folder, or a journal")
    parser.add_argument("--input", metavar="FILE", help="a dmz.input/1 as JSON or YAML; - is standard input")
    parser.add_argument("--bundle", type=Path, help="the bundle to ask, where it is not the one that decided")
    parser.add_argument(
        "--who-may",
        choices=[str(action) for action in Action],
        metavar="ACTION",
        help="who was given this, instead",
    )
    parser.add_argument("--asset", help="with --who-may: on this asset")
    parser.add_argument("--tag", help="with --who-may: this tag")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain. Raises GatewayError where there is nothing to explain."""
    settings = None if args.config is None else read(args.config)
    if args.who_may is not None:
        return _who_may(args, settings)
    if (args.id is None) == (args.input is None):
        raise GatewayError("name a DECISION-ID, or --input FILE")
    if args.input is not None:
        question = _question(args.input)
        told = [explain(load(_bundle(args, settings)), question, _units(settings, words.no_units))]
        return _say(told, [], 0, as_json=args.json)
    return _recorded(args, settings)


def _recorded(args: argparse.Namespace, settings: Settings | None) -> int:
    data = args.journal or (None if settings is None else settings.gateway.data)
    if data is None:
        raise GatewayError("name where the journal is: -c gateway.yaml, or --journal DIR")
    kept = data / "index.db" if all((data / name).is_file() for name in OWN) else None
    found = decisions.find(decisions.journal_of(data), args.id, kept)
    units = _units(settings, found.units)
    told = []
    for decided in found.decisions:
        bundle = None if args.bundle is not None else decisions.bundle_of(data, _revision(decided))
        policy = load(bundle or _bundle(args, settings, _revision(decided)))
        told.append(explain(policy, decided.question, units, decided.why))
    return _say(told, list(found.decisions), found.more, as_json=args.json)


def _revision(decided: Decided) -> str:
    return str(decided.why.get("revision") or "")


def _bundle(args: argparse.Namespace, settings: Settings | None, revision: str = "") -> Bundle:
    """The bundle named, or the one that the configuration names, if it is the one that decided."""
    if args.bundle is not None:
        return given.read(args.bundle)
    if settings is not None and settings.policy.bundle is not None:
        bundle = given.read(settings.policy.bundle)
        if revision in ("", bundle.revision):
            return bundle
    which = f"bundle {revision[:12]}, which decided, is no longer there; " if revision else ""
    raise GatewayError(f"{which}name the bundle to ask with --bundle")


def _question(file: str) -> Question:
    """A question from a file. Raises PolicyError where it is no dmz.input/1."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([Fault(file, f"cannot be read: {error}", "name a dmz.input/1")]) from None
    question = parse_yaml(file, text)
    try:
        if isinstance(question, dict):
            complete(question)
    except UnaskableError as error:
        raise PolicyError([Fault(file, str(error), "see docs/reference/input.md")]) from None
    wrong = next(documents.schema("input").iter_errors(question), None)
    if wrong is not None:
        path = ".".join(str(step) for step in wrong.absolute_path)
        raise PolicyError([Fault(file, f"{path}: {wrong.message}", "see docs/reference/input.md")])
    return dict(question)


def _units(settings: Settings | None, otherwise: Units) -> Units:
    if settings is None:
        return otherwise
    return {tag.name: (tag.resolution, tag.unit) for tag in settings.tags}.get


def _say(told: list[Explanation], decided: list[Decided], more: int, *, as_json: bool) -> int:
    if as_json:
        answers = [_json(each) for each in told]
        print(json.dumps({"explanations": answers, "more": more}, ensure_ascii=False))
        return 0
    for at, each in enumerate(told):
        if at:
            print()
        if decided and decided[at].filled:
            print(f"asked then without {words.listed(decided[at].filled)}, now null")
        print("\n".join(_lines(each)))
    if more:
        print(f"\n{more} more decisions in this record; name one by its evaluation id")
    return 0


def _json(told: Explanation) -> dict[str, Any]:
    return dict(msgspec.to_builtins(told))


def _lines(told: Explanation) -> list[str]:
    """An explanation for a person: what, who spoke, and then what could be done."""
    lines = [f"{'ALLOWED' if told.decision == 'allow' else 'DENIED'}: {told.sentence}"]
    if told.differs:
        lines.append(f"But {told.differs}.")
    for grant in told.matched:
        lines += ["", f"grant {grant.grant} ({grant.where})"]
        lines += [
            f"  {one.condition:<10} {one.gives}; asked: {one.asked} ({one.where})" for one in grant.conditions
        ]
    if told.obligations:
        lines += ["", f"with obligations: {'; '.join(told.obligations)}"]
    if told.decision == "deny":
        lines += _denial(told)
    return [*lines, "", f"bundle {told.revision}"]


def _denial(told: Explanation) -> list[str]:
    lines = ["", "the rules that spoke"]
    for one in told.spoke:
        lines.append(f"  {one.code}  {one.where or 'the gateway itself'}")
        about = " · ".join(
            part for part in (one.title, one.standard and f"IEC 62443-3-3 {one.standard}") if part
        )
        lines += [f"    {text}" for text in (one.message, about) if text]
    if told.no_grant_helps:
        lines += ["", "no grant can help: guardrails, base and site rules deny whatever is granted"]
    if told.straddle:
        lines += ["", f"the request straddles grants: {told.straddle}"]
    if told.nearest:
        lines += ["", "the nearest grants"]
    for near in told.nearest:
        lines.append(f"  {near.grant} ({near.where})")
        lines += [f"    lacks {one.condition}: gives {one.gives}; asked: {one.asked}" for one in near.lacks]
        lines += [f"    {text}" for text in _change(near.change)]
    if told.otherwise:
        lines += ["", "allowed as policy is"]
        lines += [f"  {' and '.join(change.said)}" for change in told.otherwise]
    if told.own_grant is not None:
        text = json.dumps(told.own_grant, ensure_ascii=False)
        lines += ["", "a grant that would allow exactly this, for data/grants.yaml", f"  - {text}"]
    return lines


def _change(change: Change | None) -> list[str]:
    if change is None:
        return ["no change of this grant would allow it"]
    steps = ", and ".join(change.said)
    verdict = "would allow" if change.would_allow else f"would not do: {change.instead}"
    return [f"{verdict}: {steps}" if change.would_allow else f"{steps} {verdict}"] + (
        [f"({change.note})"] if change.note else []
    )


def _who_may(args: argparse.Namespace, settings: Settings | None) -> int:
    bundle = load(_bundle(args, settings)).bundle
    rights = who_may(bundle, args.who_may, args.asset, args.tag)
    if args.json:
        print(
            json.dumps(
                {"revision": bundle.revision, "rights": msgspec.to_builtins(rights)}, ensure_ascii=False
            )
        )
        return 0 if rights else 1
    for right in rights:
        print(f"{right.grant} ({right.where}): {right.what}")
        for line in (*right.who, *(f"  {condition}" for condition in right.conditions)):
            print(f"  {line}")
    print("guardrails, base and site rules can still deny it" if rights else "nobody")
    return 0 if rights else 1
