"""`audit receive`: keep the checkpoints of gateways, on a host that none of them rules."""

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from gateway.audit.note import VerifierKey, verifier_key
from gateway.cli.audit import given
from gateway.config.settings import Zone
from gateway.export.keeping import Keeping, Kept
from gateway.identity.contexts import server_context
from gateway.identity.trust import ZoneTrust
from gateway.model.errors import GatewayError

log = logging.getLogger(__name__)


def add(below: "given.Below[argparse.ArgumentParser]") -> None:
    """Add the command."""
    text = "keep the checkpoints of gateways (on another host)"
    parser = below.add_parser("receive", help=text, description=text)
    parser.add_argument("--listen", default="0.0.0.0:8446", metavar="HOST:PORT")
    parser.add_argument("--state", type=Path, required=True, help="folder for what was received")
    parser.add_argument("--certificate", type=Path, required=True, help="PEM file, leaf first")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of its key")
    parser.add_argument("--anchors", type=Path, required=True, help="PEM file of who vouches for gateways")
    parser.add_argument("--crl", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument(
        "--vkey", action="append", required=True, help="key of a log, or its file; repeatable"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until it is told to stop."""
    keys = {key.name: key for key in map(_key, args.vkey)}
    if len(keys) != len(args.vkey):
        raise GatewayError("two keys are of one log")
    host, _, port = args.listen.rpartition(":")
    if not host or not port.isdigit():
        raise GatewayError(f"{args.listen!r} is not HOST:PORT")
    asyncio.run(_serve(args, keys, host.strip("[]"), int(port)))
    return 0


def _key(text: str) -> VerifierKey:
    try:
        return verifier_key(Path(text).read_text() if Path(text).is_file() else text)
    except (OSError, ValueError) as error:
        raise GatewayError(f"{text}: {error}") from error


async def _serve(args: argparse.Namespace, keys: dict[str, VerifierKey], host: str, port: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    zone = Zone(name="gateways", anchors=args.anchors, crls=tuple(args.crl), crl_required=bool(args.crl))
    trust = ZoneTrust(zone)
    keeping = Keeping(keys, Kept(args.state), trust)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await keeping.start(host, port, server_context(args.certificate, args.key, trust))
        log.info("keeping checkpoints of %s on %s:%d", ", ".join(keys), host, keeping.port)
        await stop.wait()
    except OSError as error:
        raise GatewayError(f"cannot listen on {args.listen}: {error.strerror}") from error
    finally:
        await keeping.stop()
