"""The two legacy registries of the shop, written the way services write them: a file of YAML, and Dubbo nodes in ZooKeeper."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import yaml
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NodeExistsError, NoNodeError

from harness.isthmus import write_atomically

SERVICE_PORTS = {"shop.reviews": 9080, "shop.ratings": 80}
INTERFACES = {"shop.reviews": "shop.Reviews", "shop.ratings": "shop.Ratings"}


@dataclass(frozen=True, slots=True)
class Registration:
    """One instance as a registry knows it: the address at which its sidecar listens."""

    service: str
    version: str
    address: str
    port: int


class Registry(Protocol):
    """Where instances register."""

    def register(self, registration: Registration) -> None:
        """Enter an instance."""
        ...

    def deregister(self, registration: Registration) -> None:
        """Take an instance out; one that is not there is no error."""
        ...


class FileRegistry:
    """One YAML file with all services; replaced atomically on every change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._entries: list[Registration] = []

    def register(self, registration: Registration) -> None:
        """Add the instance and write the file."""
        self._entries.append(registration)
        self._write()

    def deregister(self, registration: Registration) -> None:
        """Remove the instance and write the file."""
        self._entries = [entry for entry in self._entries if entry != registration]
        self._write()

    def configuration(self) -> dict[str, Any]:
        """This registry in the bridge's configuration."""
        return {"name": "files", "file": {"path": str(self.directory)}}

    def _write(self) -> None:
        services = [self._service(host) for host in sorted({entry.service for entry in self._entries})]
        write_atomically(self.directory / "shop.yaml", yaml.safe_dump({"services": services}, sort_keys=False))

    def _service(self, host: str) -> dict[str, Any]:
        mine = [entry for entry in self._entries if entry.service == host]
        instances = [{"address": one.address, "port": one.port, "labels": {"version": one.version}} for one in mine]
        return {
            "host": host,
            "ports": [{"name": "http", "number": SERVICE_PORTS[host], "protocol": "HTTP"}],
            "instances": instances,
        }


class ZooKeeperRegistry:
    """Dubbo's layout: an ephemeral node per instance whose name is its URL; written again after the loss of the session."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._entries: set[Registration] = set()
        self._lost = False
        # A steady pace: providers should be back soon after their registry is.
        self.client = KazooClient(hosts=address, connection_retry={"max_tries": -1, "delay": 0.2, "backoff": 1})
        self.client.add_listener(self._state_changed)
        self.client.start(timeout=20)

    def register(self, registration: Registration) -> None:
        """Create the provider's node."""
        self._entries.add(registration)
        self.client.retry(self._create, registration)

    def deregister(self, registration: Registration) -> None:
        """Delete the provider's node."""
        self._entries.discard(registration)
        self.client.retry(self._delete, registration)

    def _create(self, registration: Registration) -> None:
        with contextlib.suppress(NodeExistsError):
            self.client.create(_node(registration), ephemeral=True, makepath=True)

    def _delete(self, registration: Registration) -> None:
        with contextlib.suppress(NoNodeError):
            self.client.delete(_node(registration))

    def _state_changed(self, state: str) -> None:
        """Kazoo calls this from its own thread, in which no request may be made."""
        if state == KazooState.LOST:
            self._lost = True
        elif state == KazooState.CONNECTED and self._lost:
            self._lost = False
            for registration in list(self._entries):
                self.client.handler.spawn(self.client.retry, self._create, registration)

    def configuration(self) -> dict[str, Any]:
        """This registry in the bridge's configuration."""
        return {"name": "zookeeper", "zookeeper": {"servers": self._address, "root": "/dubbo", "version": "label"}}

    def close(self) -> None:
        """End the session; ZooKeeper then removes the nodes."""
        self.client.stop()
        self.client.close()


def _node(registration: Registration) -> str:
    interface = INTERFACES[registration.service]
    parameters = f"application=shop&interface={interface}&version={registration.version}&side=provider&dynamic=true"
    url = f"rest://{registration.address}:{registration.port}/{interface}?{parameters}"
    return f"/dubbo/{interface}/providers/{quote(url, safe='')}"
