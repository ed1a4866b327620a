"""One step of the tour: a name, and a function that shows something or raises NotHeld."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from gateway.demo.children import environment
from gateway.demo.world import World


class NotHeld(Exception):  # noqa: N818 # it is not an error of the program: it is the step's finding
    """What should have held does not; the text says what was seen instead."""


class Skipped(Exception):  # noqa: N818 # nor is this
    """A part that the step shows is not installed."""


@dataclass(frozen=True)
class Step:
    """A step, in the order in which it is taken."""

    name: str
    title: str
    show: Callable[[World], str]
    "Returns one line on what was seen."


def hold(condition: bool, seen: str) -> None:
    """The step goes on only if the condition holds."""
    if not condition:
        raise NotHeld(seen)


def start(*words: str) -> subprocess.Popen[str]:
    """Start a dmz-gateway command as a person would."""
    command = [sys.executable, "-m", "gateway", *words]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run one to its end."""
    running = start(*words)
    said, complaint = running.communicate(timeout=60)
    return subprocess.CompletedProcess(words, running.returncode, said, complaint)
