"""Shared by all tests: named real components, free ports, and the rule that CI skips nothing."""

import asyncio
import contextlib
import inspect
import os
import shutil
import socket
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from random import SystemRandom

import pytest

COMPONENTS: dict[str, str] = {
    # name in @pytest.mark.needs(...) -> program that shows it is there
    "openssl": "openssl",
    "mosquitto": "mosquitto",
    "opa": "opa",
    "strace": "strace",
    "faketime": "faketime",
    "curl": "curl",
    "cc": "cc",
    "haproxy": "haproxy",
    "stunnel": "stunnel4",
    "mbpoll": "mbpoll",
    "node": "node",
    "tshark": "tshark",
    "node-opcua": "node-opcua",
    "tlog-oracle": "tlog-oracle",
    "rsyslog": "rsyslogd",
}


def find(component: str) -> str | None:
    """Path of a component's program; `.build/bin` of the checkout and the sbin folders count too."""
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join(
        [str(root / ".build" / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    )
    return shutil.which(COMPONENTS[component], path=path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for component in marker.args:
            if find(component) is None:
                message = f"{component} is missing"
                if os.environ.get("CI") == "true":
                    pytest.fail(f"{message}: under CI every component must be there", pytrace=False)
                pytest.skip(message)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that is a coroutine runs in a loop of its own, which ends with it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


PORTS = range(20_000, 32_000)
"Below the ports that the kernel gives to outgoing connections, so that none of those takes one in between."


_ports = cycle(SystemRandom().sample(PORTS, len(PORTS)))
"Each time another; not by the seed of the tests, which others on this machine may have too."


def unused_port() -> int:
    """A loopback TCP port that nobody listens on, each time another."""
    for _ in range(200):
        port = next(_ports)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`unused_port`."""
    return unused_port


@pytest.fixture(scope="session")
def component() -> Callable[[str], str]:
    """A function that gives the path of a component that `needs` has already shown to be there."""

    def path(name: str) -> str:
        found = find(name)
        assert found is not None
        return found

    return path
