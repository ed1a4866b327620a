"""Where recorded operations come from, as replay, diff and learn are told on the command line."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from gateway.author import corpus
from gateway.author.corpus import Span
from gateway.author.recorded import Recorded, Seen
from gateway.config import read as configuration
from gateway.inspect.named import identities
from gateway.model.errors import ConfigError, Fault

SAY_S = 0.5
"Between two words of progress."


class Progress:
    """One line on standard error that keeps up with the work; silent unless a person watches, or asked."""

    def __init__(self, asked: bool) -> None:
        self._tty = sys.stderr.isatty()
        self._on = asked or self._tty
        self._begun = self._said = time.monotonic()

    def __call__(self, what: str, count: int) -> None:
        """So many of something are done."""
        if not self._on or count % 64:
            return
        now = time.monotonic()
        if now - self._said >= SAY_S:
            self._said = now
            self._write(f"{count} {what}, {count / (now - self._begun):.0f} a second")

    def end(self, words: str) -> None:
        """The last word."""
        if self._on:
            self._write(f"{words} in {time.monotonic() - self._begun:.1f} s")
            print(file=sys.stderr) if self._tty else None

    def _write(self, words: str) -> None:
        print(f"\r{words}\033[K" if self._tty else words, end="" if self._tty else "\n", file=sys.stderr)
        sys.stderr.flush()


def add(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Arguments that name a corpus."""
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument(
        "-c", "--config", type=Path, metavar="GATEWAY.yaml", help="the journal of this gateway"
    )
    source.add_argument("--journal", type=Path, metavar="DIR", help="a data folder, or a copy of its journal")
    source.add_argument(
        "--input", type=Path, metavar="FILE", help="output of inspect --json, or questions, one a line"
    )
    parser.add_argument(
        "--since", metavar="TIME", help="2026-11-23T08:00:00Z, or how long ago: 90s, 15m, 2h, 7d"
    )
    parser.add_argument("--until", metavar="TIME", help="the same, exclusive")
    parser.add_argument(
        "--as",
        dest="who",
        action="append",
        default=[],
        metavar="IP=SUBJECT[:ROLE],…",
        help="with --input: who the clients of a capture are",
    )
    parser.add_argument(
        "--progress", action="store_true", help="say how far it is, also where nobody watches"
    )


def is_given(args: argparse.Namespace) -> bool:
    """Whether a corpus was named."""
    return any(each is not None for each in (args.config, args.journal, args.input))


def recorded(args: argparse.Namespace, seen: Seen, progress: Progress) -> Iterator[Recorded]:
    """The corpus, as a stream. Raises GatewayError where there is none."""
    now_ns = time.time_ns()
    since, until = (
        None if text is None else corpus.moment(text, now_ns) for text in (args.since, args.until)
    )
    if since is not None and until is not None and since >= until:
        raise ConfigError([Fault("--since", "is not before --until", "swap them")])
    span, who = Span(since, until), identities(args.who)
    if who and args.input is None:
        raise ConfigError([Fault("--as", "a journal knows who asked", "leave it out, or give --input")])

    def told(count: int) -> None:
        progress("records", count)

    if args.input is None:
        folder = args.journal if args.config is None else configuration.read(args.config).gateway.data
        yield from corpus.journal(corpus.journal_of(folder), span, seen, told)
        return
    with ExitStack() as stack:
        try:
            text = stack.enter_context(args.input.open("rb"))
        except OSError as error:
            mend = "write one with dmz-gateway inspect CAPTURE --json --policy BUNDLE"
            raise ConfigError([Fault(str(args.input), f"cannot be read: {error.strerror}", mend)]) from None
        yield from corpus.lines(text, who, span, seen, told)


def unused(seen: Seen) -> Iterator[str]:
    """What of the corpus could not be asked again, so that nobody takes it for all that happened."""
    if seen.suppressed:
        yield f"{seen.suppressed} more denials were only counted in a flood: no question was kept of them"
    if seen.unasked:
        yield f"{seen.unasked} operations were refused before policy was asked, as under any bundle"
    for why, count in seen.unusable.most_common():
        yield f"{count} operations cannot be asked again: {why}"
    if seen.filled:
        fields = ", ".join(sorted(seen.filled))
        yield f"{max(seen.filled.values())} operations are older than these fields, null in them: {fields}"
    if seen.damaged:
        yield f"the journal is damaged at record {seen.damaged[0]}: run audit verify"
