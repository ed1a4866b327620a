"""A process of our own beside the gateway's: messages over its standard input and output, one at a time.

Both halves stand here. The child cannot outlive the gateway: the kernel is asked to kill it when its parent
dies (Linux), and it ends with its input. It may take so much memory and no more.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO

LENGTH = 4
"Bytes before each message that say how long it is, big-endian."
END_S = 1.0
"How long a child may take to end once its input has ended; then it is killed."
HOME = str(Path(__file__).resolve().parent.parent.parent)
"Where the child finds this very program."


def framed(message: bytes) -> bytes:
    """A message as it travels."""
    return len(message).to_bytes(LENGTH, "big") + message


# in the gateway -----------------------------------------------------------------------------------------


def command(module: str, *words: str, parent: int | None = None) -> list[str]:
    """The words that start a module as a child of that process, or this."""
    return [sys.executable, "-m", module, str(parent or os.getpid()), *words]


def environment() -> dict[str, str]:
    """The child finds this very program, wherever it is started."""
    path = os.pathsep.join(filter(None, [HOME, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


async def exchanged(child: asyncio.subprocess.Process, message: bytes, most: int) -> bytes:
    """The answer to a message. Raises OSError or EOFError where the child ended, or says more than `most`."""
    assert child.stdin is not None  # noqa: S101  whoever started it asked for pipes
    assert child.stdout is not None  # noqa: S101  whoever started it asked for pipes
    child.stdin.write(framed(message))
    await child.stdin.drain()
    size = int.from_bytes(await child.stdout.readexactly(LENGTH), "big")
    if size > most:
        raise EOFError("a message that makes no sense")
    return await child.stdout.readexactly(size)


async def end(child: asyncio.subprocess.Process) -> None:
    """End its input, and then itself."""
    assert child.stdin is not None  # noqa: S101  whoever started it asked for pipes
    child.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            await child.wait()
    except TimeoutError:
        await kill(child)


async def kill(child: asyncio.subprocess.Process) -> None:
    """End it now."""
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()


# in the child ---------------------------------------------------------------------------------------------


def bind(parent: int, most_memory: int) -> None:
    """Tie this process to the gateway that started it."""
    resource.setrlimit(resource.RLIMIT_AS, (most_memory, most_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which ends this in its order
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the wish was made
        sys.exit(1)


def read(source: IO[bytes], most: int) -> bytes | None:
    """The next message; null where there is none, or none that makes sense."""
    head = source.read(LENGTH)
    if len(head) < LENGTH:
        return None
    size = int.from_bytes(head, "big")
    body = source.read(size) if size <= most else b""
    return body if len(body) == size and size else None
