"""A flood against a gateway's listener, as one process: what somebody without a certificate can do.

    python -m tests.faults.flooder PORT SECONDS

Half of it comes from one address, half from ever new ones. The handshakes fail in four ways: no certificate,
no TLS at all, an offer that nobody accepts, a connection that says nothing. Prints how many connections it
began.
"""

import asyncio
import contextlib
import random
import ssl
import sys
import time

WORKERS = 64


def address(rng: random.Random) -> str:
    if rng.randrange(2):
        return "127.0.0.1"
    return f"127.{rng.randrange(1, 255)}.{rng.randrange(255)}.{rng.randrange(1, 255)}"


async def attack(rng: random.Random, port: int, context: ssl.SSLContext) -> None:
    """One connection, one way."""
    way = rng.randrange(4)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(address(rng), 0), ssl=context if way == 0 else None
    )
    try:
        if way == 0:
            writer.write(b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x01")
        elif way == 1:
            writer.write(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        elif way == 2:
            writer.write(
                bytes.fromhex("160301002f0100002b0301") + rng.randbytes(32) + b"\x00\x00\x02\x00\x05\x01\x00"
            )
        async with asyncio.timeout(0.5):
            await reader.read()
    finally:
        writer.close()


async def flood(port: int, seconds: float) -> int:
    """As many connections as this process can make."""
    rng = random.Random(1)  # noqa: S311 # a flood needs no good dice
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    end = time.monotonic() + seconds
    begun = 0

    async def worker() -> None:
        nonlocal begun
        while time.monotonic() < end:
            begun += 1
            with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
                await attack(rng, port, context)

    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    return begun


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(flood(int(sys.argv[1]), float(sys.argv[2])))}\n")
