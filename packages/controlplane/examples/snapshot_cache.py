"""Two groups of Envoys, each with a snapshot of its own: an edge that listens, and sidecars that get clusters.

Run it, and point an Envoy at it by ADS with ``--service-cluster edge``; the second argument is the port of its listener:

    python packages/controlplane/examples/snapshot_cache.py 127.0.0.1:18000 10000
"""

from __future__ import annotations

import asyncio
import sys

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from isthmus_controlplane import Callbacks, Server, SnapshotCache
from isthmus_controlplane.xds.fleet import Client
from isthmus_controlplane.xds.message import Nack


class Printing(Callbacks):
    """Says what clients refuse; they go on with what they had."""

    def rejected(self, client: Client, type_url: str, nack: Nack) -> None:
        """See `isthmus_controlplane.Observer`."""
        print(f"{client.node.id if client.node else client.peer} refuses {type_url}: {nack.message}")


def cluster(name: str) -> Message:
    """A cluster whose endpoints come over ADS."""
    made = Cluster(name=name, type=Cluster.EDS, connect_timeout=Duration(seconds=1))
    made.eds_cluster_config.eds_config.ads.SetInParent()
    made.eds_cluster_config.eds_config.resource_api_version = ApiVersion.V3
    result: Message = made
    return result


def endpoints(name: str, *ports: int) -> Message:
    """Endpoints on this machine."""
    made = ClusterLoadAssignment(cluster_name=name)
    for port in ports:
        address = made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    result: Message = made
    return result


def listener(port: int, target: str) -> Message:
    """A listener that carries bytes to a cluster."""
    made = Listener(name=f"port-{port}")
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = port
    proxy = made.filter_chains.add().filters.add(name="envoy.filters.network.tcp_proxy")
    proxy.typed_config.Pack(TcpProxy(stat_prefix=target, cluster=target))
    result: Message = made
    return result


async def main(address: str, edge_port: int = 10000) -> None:
    """Serve two groups, and give one of them another endpoint every ten seconds."""
    cache = SnapshotCache(group=lambda node: node.cluster)
    backend = cluster("backend")
    cache.set_snapshot("sidecars", [backend, endpoints("backend", 9000)])
    async with Server(address, cache, callbacks=Printing(), on_converged=print):
        port = 9000
        while True:
            cache.set_snapshot(
                "edge", [backend, endpoints("backend", port), listener(edge_port, "backend")], f"to {port}"
            )
            await asyncio.sleep(10)
            port = 9001 if port == 9000 else 9000


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(given[0] if given else "127.0.0.1:18000", int(given[1]) if len(given) > 1 else 10000))
