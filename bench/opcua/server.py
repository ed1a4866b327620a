"""The plant of the bench: the demo's asyncua server with a thousand nodes, which may count."""

import asyncio
import logging
import sys
from datetime import UTC

from asyncua import ua
from asyncua.ua import VariantType as Kind

from gateway.demo.opcua_nodes import NAMESPACE, good, node_id
from gateway.demo.opcua_plant import OpcuaPlant, arguments, plant_of, serve

NODES = 1_000
TICK_S = 0.1


def identifier(number: int) -> str:
    """The node of a number."""
    return f"Bench.{number}"


def prepared(plant: OpcuaPlant, *, tick: bool) -> "asyncio.Task[None] | None":
    """Let the nodes count, where they are to."""
    if not tick:
        return None

    async def count() -> None:
        index = await plant.server.get_namespace_index(NAMESPACE)
        nodes = [node_id(identifier(number), index) for number in range(NODES)]
        loop, number = asyncio.get_running_loop(), 0.0
        due = loop.time()
        while True:
            number += 1
            now = ua.DateTime.now(UTC)
            for node in nodes:
                await plant.server.write_attribute_value(node, good(number, Kind.Double, now))
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())

    return asyncio.get_running_loop().create_task(count())


def main() -> int:
    """`python -m bench.opcua.server --port … --certificate … --key … --anchors … [--tick]`"""
    logging.basicConfig(level=logging.ERROR)
    parser = arguments("bench.opcua.server")
    parser.add_argument("--tick", action="store_true", help="let the nodes count")
    args = parser.parse_args()
    held = []

    async def prepare(plant: OpcuaPlant) -> None:
        index = await plant.server.get_namespace_index(NAMESPACE)
        folder = await plant.server.get_objects_node().add_object(
            node_id("Bench", index), ua.QualifiedName("Bench", index)
        )
        for number in range(NODES):
            name = ua.QualifiedName(f"N{number}", index)
            await folder.add_variable(node_id(identifier(number), index), name, float(number))
        held.append(prepared(plant, tick=args.tick))

    asyncio.run(serve(plant_of(args), prepare))
    return 0


if __name__ == "__main__":
    sys.exit(main())
