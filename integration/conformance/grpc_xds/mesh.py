"""A control plane and a client, each a process, and gRPC backends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from conformance.xds import world
from harness.isthmus import ControlPlane
from harness.ports import free_port

HOST = "who.shop"
TARGET = f"{HOST}:80"
NODE = "sidecar~127.0.0.1~client.default~default.svc.cluster.local"


class Client:
    """A running client program."""

    def __init__(self, control_plane: str, target: str = TARGET) -> None:
        server = {"server_uri": control_plane, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        bootstrap = {"xds_servers": [server], "node": {"id": NODE}}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "conformance.grpc_xds.client", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
        )

    def ask(self, **metadata: str) -> str:
        """One call: the name of the backend, or ``error ...``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(f"{key}={value}" for key, value in metadata.items()) + "\n")
        return self._process.stdout.readline().strip()

    def count(self, calls: int, **metadata: str) -> Counter[str]:
        """Who answered how often."""
        return Counter(self.ask(**metadata) for _ in range(calls))

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True, slots=True)
class Mesh:
    """What a case works with: backends ``one``, ``two``, ``three`` (subset ``v`` and its port), all of one service."""

    plane: ControlPlane
    client: Client
    folder: Path
    ports: dict[str, int]

    def publish(self, backends: Sequence[str], *http: dict[str, Any]) -> None:
        """Let the service have these backends, and these routes if any."""
        world.write(self.folder, *documents(self.ports, backends, *http))

    def subset(self, backend: str) -> str:
        """The subset that holds one backend."""
        return f"v{self.ports[backend]}"

    def rejected(self) -> list[str]:
        """What clients rejected."""
        return [
            f"{row['type']}: {row['nack']}"
            for client in self.plane.status()["clients"]
            for row in client["types"]
            if row.get("nack")
        ]


def documents(ports: dict[str, int], backends: Sequence[str], *http: dict[str, Any]) -> list[dict[str, Any]]:
    """The Istio documents of a state."""
    found = [world.service(HOST, *(ports[name] for name in backends), protocol="GRPC")]
    found.append(world.rule(HOST, *(f"v{port}" for port in ports.values())))
    return [*found, world.routes(HOST, *http)] if http else found


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Mesh]:
    """Everything started, ``one`` published."""
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(_backend(name)) for name in ("one", "two", "three")}
        store = world.store(folder, *documents(ports, ["one"]))
        plane = stack.enter_context(ControlPlane(store, folder, grpc=f"127.0.0.1:{free_port()}"))
        client = Client(plane.grpc_address)
        stack.callback(client.stop)
        yield Mesh(plane, client, folder, ports)


@contextlib.contextmanager
def _backend(name: str) -> Iterator[int]:
    def ask(_request: bytes, context: grpc.ServicerContext) -> bytes:
        wait = dict(context.invocation_metadata()).get("wait")
        if wait is not None:
            time.sleep(float(wait))
        return name.encode()

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        handlers: Any = {"Ask": grpc.unary_unary_rpc_method_handler(ask)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()
