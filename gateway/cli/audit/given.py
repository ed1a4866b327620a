"""What every audit command is given: the data folder, moments, and how a journal that is damaged is told."""

import argparse
import stat
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit import tell
from gateway.audit.index import Index, Progress
from gateway.audit.openings import Openings
from gateway.model.errors import GatewayError

ULID = 26
"Characters of a ULID."
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PATIENCE_S, PROGRESS_S = 1.0, 0.5
"After how long progress is told, and how often."
OWN = ("format", "lock")
"Files by which a data folder is a gateway's, so that an index may be kept in it."

Below = argparse._SubParsersAction  # noqa: SLF001 # argparse names its type no other way


def command(below: "Below[argparse.ArgumentParser]", name: str, text: str) -> argparse.ArgumentParser:
    """A command with what all of them take."""
    parser = below.add_parser(name, help=text, description=text)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def journal(args: argparse.Namespace) -> Path:
    """Its journal folder."""
    data: Path = args.data
    if not (data / "journal" / "segments").is_dir():
        raise GatewayError(f"{data} holds no journal; name the data folder with --data")
    return data / "journal"


def kept(parser: argparse.ArgumentParser) -> None:
    """Where the index lies, for commands that need one."""
    parser.add_argument("--index", type=Path, help="keep the index in this file (default: see audit index)")


def index(args: argparse.Namespace, *, rebuild: bool = False) -> Index:
    """The index: kept beside a gateway's journal, private where the folder is none or is marked read-only."""
    lies = journal(args)
    own = all((args.data / name).is_file() for name in OWN) and args.data.stat().st_mode & stat.S_IWUSR
    made = Index(lies, getattr(args, "index", None) or (args.data / "index.db" if own else None))
    made.refresh(_progress() if sys.stderr.isatty() or rebuild else None, rebuild=rebuild)
    return made


def _progress() -> Progress:
    """Says on stderr how far it is, once it takes longer than a moment, at most twice a second."""
    begun = last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - begun > PATIENCE_S and (now - last > PROGRESS_S or done >= total):
            last = now
            print(f"\rindexing: {100 * done // max(total, 1)} %", end="", file=sys.stderr, flush=True)
            if done >= total:
                print(f" in {now - begun:.0f} s", file=sys.stderr)

    return told


def record(openings: Openings, number: int, data: bytes, came: str | None = None, *, as_json: bool) -> None:
    """Print one record; `came` is the outcome of an intent in words."""
    if as_json:
        sys.stdout.write(stored(openings, number, data) + "\n")
    else:
        print(tell.line(number, openings.told(number, data), came))


def stored(openings: Openings, number: int, data: bytes) -> str:
    """A record exactly as it is stored, for programs; and beside it what its commitments open to, if any."""
    opened = openings.opened(number, data)
    more = "" if opened is data else f',"opened":{opened.decode()}'
    return f'{{"index":{number},"record":{data.decode()}{more}}}'


def told(data: bytes) -> dict[str, Any]:
    """A record as it was stored, decoded."""
    return msgspec.json.decode(data, type=dict[str, Any])


def warned(damaged: int | None) -> bool:
    """Whether the journal cannot be read to its end; said where it is."""
    if damaged is not None:
        sys.stdout.flush()
        print(f"the journal is damaged at record {damaged}: run audit verify", file=sys.stderr)
    return damaged is not None


def when(text: str | None) -> int | None:
    """Nanoseconds since 1970 of a moment, or of so long ago."""
    if text is None:
        return None
    if text[-1:] in SPANS and text[:-1].isdigit():
        return time.time_ns() - length(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise GatewayError(f"{text!r} is no time: 2026-11-23T08:00:00Z, 90s, 15m, 2h, 7d") from error
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def length(text: str) -> int:
    """Nanoseconds of `90s`, `15m`, `2h`, `7d`."""
    if text[-1:] not in SPANS or not text[:-1].isdigit():
        raise GatewayError(f"{text!r} is no length of time: 90s, 15m, 2h, 7d")
    return int(text[:-1]) * SPANS[text[-1]] * 1_000_000_000
