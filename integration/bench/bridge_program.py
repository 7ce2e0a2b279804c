"""The bridge with a synthetic registry in its own process: services by number, changed by lines on standard input.

What is measured is merging, converting, publishing and the warm start, not how fast some registry can be read. ``change N MARK``
gives the first endpoint of service N the port MARK; ``burst SERVICES EVENTS`` tells of the changes of ``bench.burst`` at once and
writes the seconds that it took beside the addresses. Standard output tells ``listed`` and ``ready`` with the seconds since the start.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import sys
import time
from pathlib import Path

from isthmus_mcp_bridge.app import GC_THRESHOLD, serve, write_addresses
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.config.model import (
    Address,
    BridgeConfig,
    DebounceConfig,
    FileConfig,
    McpConfig,
    RegistryConfig,
    WarmStartConfig,
)
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed
from isthmus_mcp_bridge.model import EndpointClaim, ServiceClaim, ServiceKey, ServicePort
from isthmus_mcp_bridge.registries.base import Emit

PORT = (ServicePort("http", 80, "HTTP"),)
BIG_EVERY, BIG_AT, ORDINARY = 1000, 7, 10
AT_ONCE = 20
"""Events of a burst before other tasks get their turn, as where a registry is read message by message."""


def claim(service: int, endpoints: int, marker: int = 8080) -> ServiceClaim:
    """One service of so many endpoints, each with two labels."""
    labels = (("app", f"svc-{service}"), ("version", "v1"))
    made = tuple(
        EndpointClaim(
            "http", f"10.{service + n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 8080 if n else marker,
            f"svc-{service}/{n}", labels=labels,
        )
        for n in range(endpoints)
    )  # fmt: skip
    key = ServiceKey("bench", f"svc-{service:06d}.bench.local")
    return ServiceClaim(key, PORT, made, raw_names=(f"com.bench.Svc{service}",), created_ms=1000)


class SyntheticRegistry:
    """Lists everything at once after ``delay_s``, then changes what it is told to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.listed = asyncio.Event()
        self._big: dict[int, ServiceClaim] = {}

    @property
    def name(self) -> str:
        """The registry's name in the configuration."""
        return "bench"

    def _endpoints(self, service: int) -> int:
        return self._options.big if self._options.big and service % BIG_EVERY == BIG_AT else ORDINARY

    async def run(self, emit: Emit) -> None:
        """Follow standard input until it ends."""
        await asyncio.sleep(self._options.delay)
        services = range(self._options.services)
        emit(SourceListed("bench", {str(n): OriginReport((claim(n, self._endpoints(n)),)) for n in services}))
        self.listed.set()
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, service, marker = line.split()
            if command == "burst":
                await self._burst(emit, int(service), int(marker))
                continue
            number = int(service)
            emit(OriginChanged("bench", service, OriginReport((self._changed(number, int(marker)),))))
        await asyncio.Event().wait()

    def _changed(self, number: int, marker: int) -> ServiceClaim:
        """The claim about a changed service: equal to the one before but for its first endpoint, its objects others.

        Those of big services are kept, as making 20,000 of them is the work of reading a registry.
        """
        count = self._endpoints(number)
        if number not in self._big and count > ORDINARY:
            self._big[number] = claim(number, count)
        first = claim(number, 1 if count > ORDINARY else count, marker)
        if count <= ORDINARY:
            return first
        return dataclasses.replace(first, endpoints=(*first.endpoints, *self._big[number].endpoints[1:]))

    async def _burst(self, emit: Emit, services: int, events: int) -> None:
        from bench.burst import changes, report

        start = time.monotonic()
        for number, (service, marker) in enumerate(changes(services, events)):
            emit(OriginChanged("bench", str(service), report(service, marker)))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        scratch = self._options.addresses.with_name("burst.tmp")
        scratch.write_text(str(time.monotonic() - start))
        scratch.rename(self._options.addresses.with_name("burst"))


async def run(options: argparse.Namespace) -> None:
    """Serve until killed."""
    start = time.monotonic()
    gc.set_threshold(*GC_THRESHOLD)
    registry = SyntheticRegistry(options)
    warm = WarmStartConfig(options.warm) if options.warm else None
    bench = RegistryConfig("bench", FileConfig(Path()), 600.0)
    config = BridgeConfig(
        (dataclasses.replace(bench, limits=SourceLimits()) if options.believe else bench,),
        McpConfig(Address("127.0.0.1", options.port)),
        Address("127.0.0.1", options.admin_port),
        DebounceConfig(options.quiet_ms, 1000),
        warm_start=warm,
    )
    async with serve(config, [registry]) as addresses:
        write_addresses(options.addresses, addresses)
        await registry.listed.wait()
        print(json.dumps({"listed": time.monotonic() - start}), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, required=True)
    parser.add_argument("--big", type=int, default=0, help="endpoints of every thousandth service")
    parser.add_argument("--believe", action="store_true", help="no removal guard, no flap damping")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before the registry answers")
    parser.add_argument("--quiet-ms", type=int, default=50)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin-port", type=int, required=True)
    parser.add_argument("--warm", type=Path)
    parser.add_argument("--addresses", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
