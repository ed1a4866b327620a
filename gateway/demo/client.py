"""A foreign Modbus/TCP Security client for the demo: pymodbus over mutual TLS. None of our wire code.

    python -m gateway.demo.client --demo DIR [--as hmi-1] read holding 10 10 [--unit 1]
    python -m gateway.demo.client --demo DIR [--as hmi-1] write holding 0 650

Exit code 0: answered; 1: a Modbus exception; 2: no connection or no answer.
"""

import argparse
import json
import logging
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymodbus.client import ModbusTlsClient
from pymodbus.exceptions import ModbusException

from gateway.model.asset import Table

TIMEOUT_S = 5.0

READERS = {
    Table.COIL: ModbusTlsClient.read_coils,
    Table.DISCRETE: ModbusTlsClient.read_discrete_inputs,
    Table.INPUT: ModbusTlsClient.read_input_registers,
    Table.HOLDING: ModbusTlsClient.read_holding_registers,
}

MEANINGS = {
    1: "illegal function: here, not allowed",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    6: "busy",
    0x0A: "gateway path unavailable",
    0x0B: "the device did not answer",
}


def context(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """A client's TLS context: trusts `ca`, shows `certificate` if there is one."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False  # pymodbus hands no host name over; the chain is verified all the same
    tls.load_verify_locations(ca)
    if certificate is not None and key is not None:
        tls.load_cert_chain(certificate, key)
    return tls


def connect(port: int, tls: ssl.SSLContext) -> ModbusTlsClient:
    """Connected, or ConnectionError. It never sends a request twice."""
    client = ModbusTlsClient("127.0.0.1", port=port, sslctx=tls, timeout=TIMEOUT_S, retries=0)
    if not client.connect():  # type: ignore[no-untyped-call]
        raise ConnectionError(f"127.0.0.1:{port} does not accept us")
    return client


def read(client: ModbusTlsClient, table: Table, address: int, count: int, unit: int) -> Any:
    """The answer of pymodbus: `.registers` or `.bits`, or `.exception_code`."""
    return READERS[table](client, address, count=count, device_id=unit)


def write(client: ModbusTlsClient, table: Table, address: int, values: list[int], unit: int) -> Any:
    """The answer of pymodbus to a write of one value (functions 5, 6) or several (15, 16)."""
    match table, values:
        case Table.HOLDING, [value]:
            return client.write_register(address, value, device_id=unit)
        case Table.HOLDING, _:
            return client.write_registers(address, values, device_id=unit)
        case Table.COIL, [value]:
            return client.write_coil(address, bool(value), device_id=unit)
        case Table.COIL, _:
            return client.write_coils(address, [bool(v) for v in values], device_id=unit)
        case _:
            raise ValueError(f"nobody can write {table} by Modbus")


def refusal(answer: Any) -> int | None:
    """The exception code of an answer, or None where it is none."""
    return int(answer.exception_code) if answer.isError() else None


def _up_to(most: int) -> Callable[[str], int]:
    """A number that fits its field of the frame."""

    def number(text: str) -> int:
        value = int(text)
        if not 0 <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not within 0 … {most}")
        return value

    return number


def main(argv: list[str] | None = None) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="gateway.demo.client", description="A pymodbus TLS client.")
    parser.add_argument("--demo", type=Path, required=True, help="folder of the running demo")
    parser.add_argument("--as", dest="who", default="hmi-1", help="hmi-1, view-1, bare-1, vendor-1 or sam")
    parser.add_argument("--unit", type=_up_to(255), default=1)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, last in (("read", "count"), ("write", "values")):
        command = verbs.add_parser(verb)
        command.add_argument("table", type=Table, choices=list(Table))
        command.add_argument("address", type=_up_to(65_535), help="0-based, as on the wire")
        command.add_argument(last, type=_up_to(65_535), nargs="+" if verb == "write" else None)
    args = parser.parse_args(argv)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    try:
        facts = json.loads((args.demo / "demo.json").read_text(encoding="utf-8"))
    except OSError as error:
        parser.error(f"no demo runs in {args.demo}: {error.strerror}")
    shown = facts["certificates"].get(args.who)
    if shown is None:
        parser.error(f"nobody is called {args.who}; there are {', '.join(facts['certificates'])}")
    tls = context(Path(facts["ca"]), Path(shown["certificate"]), Path(shown["key"]))
    try:
        client = connect(facts["ports"]["modbus"], tls)
        if args.verb == "read":
            answer = read(client, args.table, args.address, args.count, args.unit)
        else:
            answer = write(client, args.table, args.address, args.values, args.unit)
    except (ModbusException, OSError) as error:
        print(f"no answer: {error}", file=sys.stderr)
        return 2
    except (ValueError, struct.error) as error:  # pymodbus itself does not send it
        parser.error(str(error))
    code = refusal(answer)
    if code is not None:
        print(f"exception {code:02X}: {MEANINGS.get(code, 'unknown')}")
        return 1
    if args.verb == "read":
        bits = args.table in {Table.COIL, Table.DISCRETE}
        print(*(map(int, answer.bits[: args.count]) if bits else answer.registers))
    else:
        print("written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
