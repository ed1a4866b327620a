"""Child processes that cannot outlive the demo, and a folder that cannot either.

- Each child leads a session of its own, so Ctrl-C in the terminal reaches only the demo, which then ends
  the children in its own order.
- On Linux each child asks the kernel for SIGKILL when the demo dies (PR_SET_PDEATHSIG), so even SIGKILL of
  the demo leaves no process. The kernel forgets that wish when a process changes its user: children must not.
- The folder holds private keys. A janitor, a shell that waits for the demo's end on a pipe, removes it
  whatever ended the demo.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1

END_S = 5.0
"How long a child may take to end by itself once asked; then it is killed."

_JANITOR = (
    'cat >/dev/null; for _ in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$0"; [ -e "$0" ] || exit 0; sleep 0.2; done'
)
"Tried again because a child that is just dying may still be writing."


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent(parent: int) -> None:
    """Runs in the child before its program."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the demo died before the wish was made
        os._exit(1)


def environment() -> dict[str, str]:
    """For children that are this program too: they find it wherever they are started."""
    ours = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


class Children:
    """The demo's child processes, by name, each with its output in a file of its own."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, folder: Path, *command: str) -> int:
        """Start a child in a folder; its process id."""
        parent = os.getpid()
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
                preexec_fn=lambda: _die_with_parent(parent),
            )
        return self._running[name].pid

    def stop(self, name: str) -> None:
        """End a child and wait until it has: asked first, killed if it does not listen."""
        child = self._running.pop(name)
        _signal(child, signal.SIGTERM)
        _signal(child, signal.SIGCONT)
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)
            child.wait()

    def stop_all(self) -> None:
        """End all, the youngest first: the gateway can still say goodbye to the broker and the plant."""
        for name in reversed(list(self._running)):
            self.stop(name)

    def ended(self) -> list[str]:
        """Names of children that ended though nobody asked."""
        return [name for name, child in self._running.items() if child.poll() is not None]

    def log(self, name: str) -> str:
        """What a child has said so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return ""


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    """Signal a child's whole process group."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)


class Janitor:
    """Removes a folder when this process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _JANITOR, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )

    def sweep(self) -> None:
        """Remove the folder now, and wait until that is done."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
