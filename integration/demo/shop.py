"""The shop: every program of it, started in order and stopped in reverse."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from demo import bootstraps, rules
from demo.registries import FileRegistry, Registration, Registry, ZooKeeperRegistry
from harness import zookeeper
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Bridge, ControlPlane, Proxy
from harness.origin import Origin
from harness.ports import free_port

REVIEWS, RATINGS = "shop.reviews", "shop.ratings"
SidecarKind = Literal["isthmus", "envoy"]
_Sidecar = Proxy | Envoy


@dataclass(frozen=True, slots=True)
class Instance:
    """One running instance of a service: the application and the sidecar in front of it."""

    name: str
    registration: Registration
    registry: Registry
    application: Origin
    sidecar: _Sidecar

    def terminate(self) -> None:
        """Let both end gracefully, without waiting for it."""
        self.sidecar.process.terminate()
        self.application.process.terminate()

    def kill(self) -> None:
        """SIGKILL both, as when the machine dies; the registry still lists the instance."""
        self.sidecar.kill()
        self.application.kill()


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """A client to start: its name, which proxy is its sidecar, and which variant of xDS that speaks."""

    name: str
    kind: SidecarKind
    api_type: bootstraps.ApiType = "DELTA_GRPC"


@dataclass(frozen=True, slots=True)
class Client:
    """A client's sidecar and the port of its HTTP proxy listener."""

    name: str
    sidecar: _Sidecar
    address: str


class Shop:
    """The running shop; use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        with_zookeeper: bool,
        sidecars: SidecarKind = "isthmus",
        clients: Sequence[ClientSpec] | None = None,
    ) -> None:
        self.directory = directory
        self._specs = (
            clients if clients is not None else (ClientSpec("client", sidecars), ClientSpec("envoy-client", "envoy"))
        )
        self.instances: dict[str, Instance] = {}
        self.clients: dict[str, Client] = {}
        self.rules_directory = directory / "rules"
        self.weights: dict[str, int] = {}
        self._sidecars = sidecars
        self._cleanup = contextlib.ExitStack()
        try:
            self._start(with_zookeeper)
        except BaseException:
            self._cleanup.close()
            raise

    def _start(self, with_zookeeper: bool) -> None:
        self.files = FileRegistry(self.directory / "registry")
        self.zookeeper: zookeeper.ZooKeeper | None = None
        self.nodes: ZooKeeperRegistry | None = None
        if with_zookeeper:
            self.zookeeper = self._cleanup.enter_context(zookeeper.ZooKeeper())
            self.nodes = ZooKeeperRegistry(self.zookeeper.address)
            self._cleanup.callback(self.nodes.close)
        # The old version is found in the file, the new one and ratings in ZooKeeper where there is one.
        newer: FileRegistry | ZooKeeperRegistry = self.nodes or self.files
        self.add_instance("reviews-v1", REVIEWS, "v1", self.files)
        self.add_instance("reviews-v2", REVIEWS, "v2", newer)
        self.add_instance("ratings-v1", RATINGS, "v1", newer)
        registries = [self.files.configuration(), *([self.nodes.configuration()] if self.nodes else [])]
        self.bridge = self._cleanup.enter_context(Bridge(registries, self.directory))
        self._start_control_plane()
        for spec in self._specs:
            self._add_client(spec)

    def _start_control_plane(self) -> None:
        """With fixed ports: clients must find it again after a restart."""
        self.rules_directory.mkdir(exist_ok=True)
        self.control_plane = self._cleanup.enter_context(
            ControlPlane(
                f"dir:{self.rules_directory}",
                self.directory,
                mcp=[self.bridge.mcp_address],
                grpc=f"127.0.0.1:{free_port()}",
                admin=f"127.0.0.1:{free_port()}",
            )
        )

    def add_instance(self, name: str, service: str, version: str, registry: Registry | None = None) -> Instance:
        """Start an application and its sidecar, then register the sidecar's address."""
        registry = registry or self.nodes or self.files
        application = self._cleanup.enter_context(Origin(service, version, self.directory, instance=name))
        port = free_port()
        bootstrap = bootstraps.service_sidecar(name, f"127.0.0.1:{port}", application.address)
        sidecar = self._sidecar(name, bootstrap, self._sidecars)
        registration = Registration(service, version, "127.0.0.1", port)
        registry.register(registration)
        instance = Instance(name, registration, registry, application, sidecar)
        self.instances[name] = instance
        return instance

    def remove_instance(self, name: str) -> Instance:
        """Take an instance out of its registry; it still runs."""
        instance = self.instances.pop(name)
        instance.registry.deregister(instance.registration)
        return instance

    def connected_clients(self) -> int:
        """How many of our clients have acknowledged everything that the control plane has for them."""
        wanted = {bootstraps.node_id(name) for name in self.clients}
        connected = self.control_plane.status()["clients"]
        return len({client["node_id"] for client in connected} & wanted)

    def apply(self, name: str, text: str) -> None:
        """``isthmusctl apply`` of a YAML text."""
        path = self.directory / f"{name}.yaml"
        path.write_text(text)
        self.control_plane.ctl("apply", "-f", path)

    def split(self, weights: Mapping[str, int], *, retries: int = 0) -> None:
        """Give each version of reviews its share."""
        self.weights = dict(weights)
        self.apply(
            "reviews", rules.dump(rules.subsets(REVIEWS, ["v1", "v2"]), rules.split(REVIEWS, weights, retries=retries))
        )

    def wait_until_served(self) -> None:
        """Wait until every client reaches every service."""
        for client in self.clients.values():
            for host in (f"{REVIEWS}:9080", RATINGS):
                eventually(functools.partial(self.answers, client, host), what=f"{host} through {client.name}")

    def answers(self, client: Client, host: str = f"{REVIEWS}:9080") -> bool:
        """Whether a request through a client's sidecar reaches the service."""
        return fetch(client.address, "/", headers={"host": host}, timeout=5).status == 200

    def addresses(self) -> dict[str, str]:
        """Every component and where it listens."""
        found = {"file registry": str(self.files.directory / "shop.yaml")}
        if self.zookeeper is not None:
            found["ZooKeeper"] = self.zookeeper.address
        found |= {f"bridge {purpose}": address for purpose, address in self.bridge.addresses.items()}
        found |= {f"control plane {purpose}": address for purpose, address in self.control_plane.addresses.items()}
        for instance in self.instances.values():
            found[f"{instance.name} application"] = instance.application.address
            found[f"{instance.name} sidecar"] = f"{instance.registration.address}:{instance.registration.port}"
        for client in self.clients.values():
            found[f"{client.name} proxy"] = client.address
            found[f"{client.name} admin"] = client.sidecar.admin_address
        return found

    def _add_client(self, spec: ClientSpec) -> None:
        port = free_port()
        bootstrap = bootstraps.client_sidecar(
            spec.name, port, self.control_plane.grpc_address, spec.api_type, reconnect_soon=spec.kind == "envoy"
        )
        self.clients[spec.name] = Client(spec.name, self._sidecar(spec.name, bootstrap, spec.kind), f"127.0.0.1:{port}")

    def _sidecar(self, name: str, bootstrap: Mapping[str, object], kind: SidecarKind) -> _Sidecar:
        if kind == "envoy":
            return self._cleanup.enter_context(Envoy(bootstrap, self.directory, name=f"{name}-sidecar"))
        return self._cleanup.enter_context(Proxy(bootstrap, self.directory, name=f"{name}-sidecar"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()
