"""Whatever happens in whatever order, once nothing is under way the session has what the server has."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from isthmus_proxy.xds.resources import CLUSTER, ENDPOINT, Update
from isthmus_proxy.xds.session import Session, Variant

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([1, 2, 8, 9])


def make(type_url: str, name: str, value: int) -> Any:
    """A resource whose content is ``value``."""
    if type_url == CLUSTER:
        return Cluster(name=name, alt_stat_name=str(value))
    assignment = ClusterLoadAssignment(cluster_name=name)
    assignment.policy.overprovisioning_factor.value = value
    return assignment


def value_of(message: Any) -> int:
    """What ``make`` put in."""
    if isinstance(message, Cluster):
        return int(message.alt_stat_name)
    return int(message.policy.overprovisioning_factor.value)


BAD = 9
"""Content that the client refuses."""
PLAIN = 8
"""A cluster that needs no endpoints."""


class Client:
    """Holds what was accepted, and wants endpoints for its clusters, as the proxy does."""

    def __init__(self, variant: Variant) -> None:
        self.session = Session(Node(id="sidecar"), variant)
        self.session.add_type(CLUSTER, self.apply)
        self.session.add_type(ENDPOINT, self.apply)
        self.store: dict[str, dict[str, int]] = {CLUSTER: {}, ENDPOINT: {}}
        self.session.subscribe(CLUSTER, None)

    def apply(self, update: Update) -> dict[str, str]:
        store = self.store[update.type_url]
        refused = {}
        for resource in update.resources:
            value = value_of(resource.message)
            if value == BAD:
                refused[resource.name] = "content 9 is refused"
            else:
                store[resource.name] = value
        for name in update.removed:
            store.pop(name, None)
        if update.type_url == CLUSTER:
            wanted = {name for name, value in store.items() if value != PLAIN}
            for name in self.store[ENDPOINT].keys() - wanted:
                del self.store[ENDPOINT][name]
            self.session.subscribe(ENDPOINT, wanted)
        return refused


class Server:
    """A control plane's truth, and per stream what it knows of the client. ``push`` makes the responses that are due."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.truth: dict[str, dict[str, int]] = {CLUSTER: {}, ENDPOINT: {}}
        self.versions = {CLUSTER: 0, ENDPOINT: 0}
        self.nonces = 0
        self.start_stream()

    def start_stream(self) -> None:
        self.asked: dict[str, set[str] | None] = {}  # None: everything
        self.sent: dict[str, dict[str, int] | None] = {}
        self.nonce: dict[str, str] = {}
        self.nacked: dict[str, str] = {}

    def put(self, type_url: str, name: str, value: int | None) -> None:
        if value is None:
            self.truth[type_url].pop(name, None)
        else:
            self.truth[type_url][name] = value
        self.versions[type_url] += 1

    def due(self, type_url: str) -> dict[str, int]:
        asked = self.asked[type_url]
        return {name: value for name, value in self.truth[type_url].items() if asked is None or name in asked}

    def receive(self, request: Any) -> None:
        if self.variant == "sotw":
            self._receive_sotw(request)
        else:
            self._receive_delta(request)

    def _receive_sotw(self, request: Any) -> None:
        url = request.type_url
        names = set(request.resource_names)
        first = url not in self.asked
        wildcard = url == CLUSTER
        assert wildcard or names or not first, "an empty first request would ask for everything"
        before = self.asked.get(url, set())
        self.asked[url] = None if wildcard else names
        if first or (before is not None and names - before):
            self.sent[url] = None  # must be answered although nothing changed
        elif self.sent.get(url) is not None and not wildcard:
            self.sent[url] = {name: value for name, value in (self.sent[url] or {}).items() if name in names}

    def _receive_delta(self, request: Any) -> None:
        url = request.type_url
        subscribe = set(request.resource_names_subscribe)
        if url not in self.asked:
            assert url == CLUSTER or subscribe, "an empty first request would ask for everything"
            self.asked[url] = None if url == CLUSTER else set()
            versions = {name: int(version) for name, version in request.initial_resource_versions.items()}
            self.sent[url] = versions
        elif request.initial_resource_versions:
            pytest.fail("initial versions belong to the first request only")
        asked = self.asked[url]
        if asked is not None:
            sent = self.sent[url]
            assert sent is not None
            for name in subscribe - asked:
                if request.response_nonce or name not in request.initial_resource_versions:
                    sent.pop(name, None)
            asked |= subscribe
            asked -= set(request.resource_names_unsubscribe)
            for name in request.resource_names_unsubscribe:
                sent.pop(name, None)

    def push(self, type_url: str) -> Any | None:
        if type_url not in self.asked:
            return None
        due = self.due(type_url)
        sent = self.sent.get(type_url)
        if due == sent:
            return None
        self.sent[type_url] = due
        self.nonces += 1
        self.nonce[type_url] = str(self.nonces)
        if self.variant == "sotw":
            response = discovery.DiscoveryResponse(
                type_url=type_url, version_info=str(self.versions[type_url]), nonce=str(self.nonces)
            )
            for name, value in due.items():
                response.resources.add().Pack(make(type_url, name, value))
            return response
        return self._delta(type_url, due, sent or {})

    def _delta(self, type_url: str, due: dict[str, int], sent: dict[str, int]) -> Any:
        response = discovery.DeltaDiscoveryResponse(type_url=type_url, nonce=str(self.nonces))
        for name, value in due.items():
            if sent.get(name) != value:
                resource = response.resources.add(name=name, version=str(value))
                resource.resource.Pack(make(type_url, name, value))
        response.removed_resources.extend(sorted(sent.keys() - due.keys()))
        return response


class Conversation(RuleBasedStateMachine):
    """Client and server with queues between them, which a lost connection empties."""

    variant: Variant = "sotw"

    @initialize()
    def begin(self) -> None:
        self.client = Client(self.variant)
        self.server = Server(self.variant)
        self.to_server: deque[Any] = deque()
        self.to_client: deque[Any] = deque()
        self.up = False

    def flush(self) -> None:
        self.to_server.extend(self.client.session.take_requests())

    @rule(name=NAMES, value=VALUES)
    def change_cluster(self, name: str, value: int) -> None:
        self.server.put(CLUSTER, name, value)

    @rule(name=NAMES, value=VALUES)
    def change_endpoints(self, name: str, value: int) -> None:
        self.server.put(ENDPOINT, name, value)

    @rule(name=NAMES)
    def delete_cluster(self, name: str) -> None:
        self.server.put(CLUSTER, name, None)

    @rule()
    def connect(self) -> None:
        if not self.up:
            self.up = True
            self.server.start_stream()
            self.client.session.connected()
            self.flush()

    @precondition(lambda self: self.up)
    @rule()
    def disconnect(self) -> None:
        self.up = False
        self.to_server.clear()
        self.to_client.clear()
        self.client.session.disconnected()

    @precondition(lambda self: self.up)
    @rule(type_url=st.sampled_from([CLUSTER, ENDPOINT]))
    def push(self, type_url: str) -> None:
        response = self.server.push(type_url)
        if response is not None:
            self.to_client.append(response)

    @precondition(lambda self: self.up and self.to_client)
    @rule()
    def deliver_response(self) -> None:
        response = self.to_client.popleft()
        self.client.session.receive(response, now=1.0)
        self.flush()

    @precondition(lambda self: self.up and self.to_server)
    @rule()
    def deliver_request(self) -> None:
        self.server.receive(self.to_server.popleft())

    @precondition(lambda self: self.up)
    @rule()
    def exchange_everything(self) -> None:
        self.settle()

    @invariant()
    def refused_content_is_never_in_service(self) -> None:
        if hasattr(self, "client"):
            assert BAD not in self.client.store[CLUSTER].values()
            assert BAD not in self.client.store[ENDPOINT].values()

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        self.connect()
        self.settle()
        clusters = self.client.store[CLUSTER]
        wanted = {name for name, value in clusters.items() if value != PLAIN}
        assert self.server.asked.get(ENDPOINT, set()) == wanted
        for type_url in (CLUSTER, ENDPOINT):
            self.compare(type_url)

    def settle(self) -> None:
        for _ in range(200):
            moved = False
            while self.to_server:
                self.deliver_request()
                moved = True
            for type_url in (CLUSTER, ENDPOINT):
                response = self.server.push(type_url)
                if response is not None:
                    self.to_client.append(response)
            while self.to_client:
                self.deliver_response()
                moved = True
            if not moved:
                return
        pytest.fail("the conversation never comes to rest")

    def compare(self, type_url: str) -> None:
        store = self.client.store[type_url]
        if type_url not in self.server.asked:
            assert not store
            return
        due = self.server.due(type_url)
        good = {name: value for name, value in due.items() if value != BAD}
        assert {name: value for name, value in store.items() if name in good} == good
        bad = due.keys() - good.keys()
        # In delta, a server that restarted knows that we lack the refused version and sends it again.
        assert self.client.session.rejected(type_url).keys() == bad
        if type_url == CLUSTER:
            assert store.keys() <= due.keys()
        accepted = self.client.session.accepted(type_url)
        assert {
            name: value_of(make(type_url, name, value)) for name, value in store.items() if name in accepted
        } == store


class DeltaConversation(Conversation):
    variant: Variant = "delta"


TestSotw = Conversation.TestCase
TestSotw.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestDelta = DeltaConversation.TestCase
TestDelta.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
