"""Every key of `gateway.yaml` as Markdown tables: the second half of docs/reference/configuration.md."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gateway.config.keys import Key, keys
from gateway.config.schema import ELSEWHERE
from gateway.config.settings import Settings


def reference() -> str:
    """A table a section, in the order of the file."""
    return "\n".join(_sections("", Settings))


def _sections(path: str, section: type[Struct]) -> Iterator[str]:
    plain = [key for key in keys(section) if key.section is None]
    if plain:
        yield f"### `{path}`\n"
        yield " ".join((section.__doc__ or "").split()) + "\n"
        if path.removesuffix("[]") in ELSEWHERE:
            yield "Inline, or the name of another YAML file that holds the list.\n"
        yield "| key | how to write it | default | |\n|---|---|---|---|"
        yield from (_row(key) for key in plain)
        yield ""
    for key in keys(section):
        if key.section is not None:
            name = f"{path}.{key.name}" if path else key.name
            yield from _sections(name + ("[]" if key.many else ""), key.section)


def _row(key: Key) -> str:
    default = key.derived or ("**required**" if key.required else "")
    if key.default is not None:
        default = f"`{_written(key.default)}`"
    return f"| `{key.name}` | {_how(key)} | {default} | {key.doc} |"


def _written(default: Any) -> str:
    """A default as it would stand in the file."""
    if isinstance(default, list):
        return f"[{', '.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _how(key: Key) -> str:
    """What may stand there, without the verb."""
    if key.form is None:
        return ""
    if choices := key.form.schema.get("enum"):
        return ", ".join(f"`{choice}`" for choice in choices)
    if key.bound is not None:
        low, high = key.form.write(key.bound.low), key.form.write(key.bound.high)
        return f"{low} to {high}"
    return str(key.form.schema.get("$comment", "")).removeprefix("write ")
