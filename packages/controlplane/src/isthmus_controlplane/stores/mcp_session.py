"""The sink's side of one MCP-over-xDS stream, delta or SotW, without its transport."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status

from isthmus_controlplane import __version__
from isthmus_controlplane.stores.mcp_inventory import Inventory, Item, unpack

TYPE_URL = "networking.istio.io/v1alpha3/ServiceEntry"
INVALID_ARGUMENT = 3  # google.rpc.Code


class DeltaSink:
    """A stream of ``DeltaAggregatedResources``: only what changed since the last connection is sent."""

    def __init__(self, node: Node, inventory: Inventory) -> None:
        """Start a stream that keeps ``inventory`` up to date."""
        self._node = node
        self._inventory = inventory

    def first_request(self) -> DeltaDiscoveryRequest:
        """Ask for everything, naming what is known already."""
        return DeltaDiscoveryRequest(
            node=self._node,
            type_url=TYPE_URL,
            resource_names_subscribe=["*"],
            initial_resource_versions=self._inventory.versions(),
        )

    def receive(self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest:
        """Apply changes and removals."""
        reply = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        error = _wrong_type(response.type_url)
        if error is None:
            items = [Item(r.name, r.version, r.resource) for r in response.resources]
            error = self._inventory.apply(items, response.removed_resources)
        if error is not None:
            reply.error_detail.CopyFrom(_status(error))
        return reply


class SotwSink:
    """A stream of ``StreamAggregatedResources``: every response holds everything."""

    def __init__(self, node: Node, inventory: Inventory) -> None:
        """Start a stream that keeps ``inventory`` up to date."""
        self._node = node
        self._inventory = inventory
        self._accepted = ""

    def first_request(self) -> DiscoveryRequest:
        """Ask for everything."""
        return DiscoveryRequest(node=self._node, type_url=TYPE_URL)

    def receive(self, response: DiscoveryResponse) -> DiscoveryRequest:
        """Replace everything by what the response holds."""
        error = _wrong_type(response.type_url) or self._inventory.replace(unpack(body) for body in response.resources)
        reply = DiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error is None:
            self._accepted = response.version_info
        else:
            reply.error_detail.CopyFrom(_status(error))
        reply.version_info = self._accepted
        return reply


def sink_node(node_id: str) -> Node:
    """Describe this control plane to a source; ``GENERATOR`` makes istiod answer as an MCP source, too."""
    node = Node(id=node_id, user_agent_name="isthmus-controlplane", user_agent_version=__version__)
    node.metadata.fields["GENERATOR"].string_value = "api"
    return node


def _wrong_type(type_url: str) -> str | None:
    return None if type_url == TYPE_URL else f"type_url: {type_url!r} was not asked for; only {TYPE_URL} is"


def _status(message: str) -> Status:
    return Status(code=INVALID_ARGUMENT, message=message)
