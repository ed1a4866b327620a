"""What a rule says about itself: the METADATA comment above it, and the codes that it denies with.

A reader of a denial sees a code. Who wrote the rule, what it is for and which requirement of IEC 62443-3-3 it
serves stand in the comment (OPA's annotations: YAML in `#` lines from `# METADATA` on, directly above what it
is about). With `scope: document` it is about every definition of that name, and so is the first one of a name
where the others have none.
"""

from typing import Any

from msgspec import Struct

from gateway.model.errors import PolicyError
from gateway.policy.bundle import parse_yaml
from gateway.policy.loader import Policy
from gateway.policy.module import Module, Path, Rule

START = "# METADATA"


class Annotation(Struct, frozen=True, kw_only=True):
    """One METADATA comment."""

    title: str = ""
    code: str = ""
    "`custom.code`: the reason code that the rule gives."
    standard: str = ""
    "`custom.iec62443`: the requirement that it serves."
    document: bool = False
    "Whether it is about every definition of the name."
    broken: str = ""
    "What is wrong with its YAML."


class Speaker(Struct, frozen=True, kw_only=True):
    """A rule that gives reasons."""

    path: Path
    line: int
    where: str
    codes: tuple[str, ...]
    "The reason codes that stand in it."
    annotation: Annotation | None
    own: bool
    "Whether the comment is its own, not that of another definition of its name."


def annotations(text: str) -> dict[int, Annotation]:
    """Line (from 1) of what each METADATA comment of a module is about -> the comment."""
    found: dict[int, Annotation] = {}
    block: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.rstrip() == START:
            block = []
        elif block is not None and line.startswith("#"):
            block.append(line[1:].removeprefix(" "))
        elif block is not None and line.strip():
            found[number], block = _annotation("\n".join(block)), None
    return found


def speakers(policy: Policy) -> list[Speaker]:
    """Every rule that gives reasons, in the order of files and lines."""
    return [speaker for module in policy.modules for speaker in _speakers(module, policy)]


def by_code(policy: Policy) -> dict[str, list[Speaker]]:
    """Reason code -> the rules that can give it, by what stands in them, else by their comment."""
    found: dict[str, list[Speaker]] = {}
    for speaker in speakers(policy):
        said = speaker.annotation.code if speaker.annotation and speaker.own else ""
        for code in speaker.codes or ((said,) if said else ()):
            found.setdefault(code, []).append(speaker)
    return found


def _speakers(module: Module, policy: Policy) -> list[Speaker]:
    known = annotations(policy.bundle.modules[module.name])
    shared: dict[Path, Annotation] = {}
    found = []
    for rule in module.rules:
        own = known.get(rule.line)
        if own is not None:
            shared.setdefault(rule.path, own)
        if denies(rule) or rule.codes:
            found.append(
                Speaker(
                    path=rule.path,
                    line=rule.line,
                    where=f"{module.name}:{rule.line}",
                    codes=rule.codes,
                    annotation=own or shared.get(rule.path),
                    own=own is not None,
                )
            )
    return found


def denies(rule: Rule) -> bool:
    """Whether core reads it as a denial."""
    return rule.path[-1] == "deny" and rule.kind == "set"


def _annotation(text: str) -> Annotation:
    try:
        said = parse_yaml("METADATA", text)
    except PolicyError as error:
        return Annotation(broken=error.faults[0].what)
    if not isinstance(said, dict):
        return Annotation(broken="is not a mapping")
    custom = said.get("custom")
    custom = custom if isinstance(custom, dict) else {}
    return Annotation(
        title=_text(said.get("title")),
        code=_text(custom.get("code")),
        standard=_text(custom.get("iec62443")),
        document=said.get("scope") == "document",
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)
