"""One instance of a shop service in a container: it answers requests, and enters itself into ZooKeeper as a Dubbo SDK would.

In SDK mode it registers its own port; behind a sidecar it registers the sidecar's. The application does not know the mesh.
"""

import argparse
import asyncio
import logging
import socket
import threading
from urllib.parse import quote

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError

from harness.origin import Identity, serve

log = logging.getLogger("shop")
RETRY_S = 1.0
SESSION_S = 6.0


class Registration:
    """Keeps one provider node in ZooKeeper for as long as the process lives, through lost sessions too."""

    def __init__(self, servers: str, node: str) -> None:
        self._client = KazooClient(hosts=servers, timeout=SESSION_S)
        self._node = node
        self._wanted = threading.Event()
        self._client.add_listener(self._changed)

    def run(self) -> None:
        """Register, and again after every lost session; runs in a thread of its own."""
        while True:
            try:
                self._client.start(timeout=30)
                break
            except KazooTimeoutError:
                log.warning("ZooKeeper does not answer; trying again")
        self._wanted.set()
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                self._register()
            except KazooException as error:
                log.warning("not registered: %r; trying again", error)
                threading.Timer(RETRY_S, self._wanted.set).start()

    def _register(self) -> None:
        try:
            self._client.create(self._node, ephemeral=True, makepath=True)
        except NodeExistsError:
            # left by a session of ours that has not expired yet: it would vanish with that session
            self._client.delete(self._node)
            self._client.create(self._node, ephemeral=True, makepath=True)
        log.info("registered %s", self._node)

    def _changed(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self._wanted.set()


def provider_node(interface: str, version: str, application: str, port: int) -> str:
    """The Dubbo 2 node of this container."""
    address = socket.gethostbyname(socket.gethostname())
    parameters = f"application={application}&interface={interface}&version={version}&side=provider&dynamic=true"
    return f"/dubbo/{interface}/providers/" + quote(f"rest://{address}:{port}/{interface}?{parameters}", safe="")


def main() -> None:
    """Serve and stay registered."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--register-port", type=int, help="the port to register when a sidecar stands in front")
    parser.add_argument("--zookeeper", default="zookeeper:2181")
    options = parser.parse_args()
    node = provider_node(options.interface, options.version, options.name, options.register_port or options.port)
    threading.Thread(target=Registration(options.zookeeper, node).run, daemon=True).start()
    identity = Identity(options.name, options.version, socket.gethostname())
    asyncio.run(serve(identity, options.host, options.port, None))


if __name__ == "__main__":
    main()
