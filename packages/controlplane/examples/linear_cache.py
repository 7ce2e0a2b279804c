"""Endpoints for everybody, changed one at a time: what a registry with its own xDS face would do.

Run it, and type ``NAME PORT...`` lines; a name without ports goes away:

    python packages/controlplane/examples/linear_cache.py 127.0.0.1:18000
"""

from __future__ import annotations

import asyncio
import sys

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.message import Message

from isthmus_controlplane import LinearCache, Server
from isthmus_controlplane.snapshot.resource_type import ENDPOINT


def endpoints(name: str, *ports: int) -> Message:
    """Endpoints on this machine."""
    made = ClusterLoadAssignment(cluster_name=name)
    for port in ports:
        address = made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    result: Message = made
    return result


def take(cache: LinearCache, line: str) -> None:
    """Take one line."""
    name, *ports = line.split()
    if ports:
        cache.update(endpoints(name, *map(int, ports)), cause=line.strip())
    else:
        cache.update(removed=[(ENDPOINT, name)], cause=f"{name} is gone")


async def main(address: str) -> None:
    """Serve until standard input ends."""
    cache = LinearCache()
    async with Server(address, cache, on_converged=print):
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip():
                take(cache, line)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:18000"))
