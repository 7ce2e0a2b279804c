"""SOFARPC with the registry protocol ``mesh`` and no other change: it publishes at its sidecar and calls through it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.eventually import eventually, patience
from harness.isthmus import Proxy
from harness.java import Consumer, Provider
from harness.ports import free_port
from isthmus_api.registration.v1alpha1 import registration_pb2, registration_pb2_grpc
from test_rpc_java import STRUCT, bootstrap, cluster, listener, to

SIDECAR_PORT = 12220  # SOFARPC has it fixed
SILENT = registration_pb2.APPLICATION_HEALTH_SILENT
ANSWERING = registration_pb2.APPLICATION_HEALTH_ANSWERING
REGISTRY_API = "type.googleapis.com/isthmus.bootstrap.registry_api.v1.RegistryApi"


class Registrations(registration_pb2_grpc.RegistrationServiceServicer):
    """A registration service that keeps what the last request of the sidecar said; nothing once its stream has ended."""

    def __init__(self) -> None:
        self.requests: queue.Queue[registration_pb2.RegisterRequest] = queue.Queue()
        self.current: list[registration_pb2.Publication] = []
        self.ended = 0

    @property
    def health(self) -> int | None:
        return self.current[0].application_health if self.current else None

    def Register(  # noqa: N802 - the name of the method in the service
        self, request_iterator: Iterator[registration_pb2.RegisterRequest], context: Any
    ) -> Iterator[registration_pb2.RegisterResponse]:
        context.add_callback(self._end)
        for request in request_iterator:
            if not request.keep_alive:
                self.current = list(request.publications)
            yield registration_pb2.RegisterResponse(nonce=request.nonce)

    def _end(self) -> None:
        self.current = []
        self.ended += 1


def with_registry_api(config: dict[str, Any], **value: Any) -> dict[str, Any]:
    typed = {"@type": STRUCT, "type_url": REGISTRY_API, "value": value}
    node = {"id": "sidecar-of-blue", "cluster": "test"}
    return {**config, "node": node, "bootstrap_extensions": [{"name": "registry", "typed_config": typed}]}


@pytest.fixture
def registrations() -> Iterator[tuple[Registrations, int]]:
    servicer = Registrations()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    registration_pb2_grpc.add_RegistrationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, port
    server.stop(0).wait(patience())


def test_an_application_is_published_called_and_withdrawn(
    registrations: tuple[Registrations, int], tmp_path: Path
) -> None:
    servicer, grpc_port = registrations
    app, front, provider_api, consumer_api = (free_port() for _ in range(4))
    inbound = bootstrap(
        [listener("in", front, "bolt", [to("app")])], [cluster("app", app), cluster("bridge", grpc_port)]
    )
    inbound["static_resources"]["clusters"][1]["http2_protocol_options"] = {}
    check = {"port": app, "interval": "0.2s", "failures": 2}
    inbound = with_registry_api(
        inbound, sofa_port=provider_api, inbound_port=front, registration_cluster="bridge", application_check=check
    )
    outbound = bootstrap([listener("out", SIDECAR_PORT, "bolt", [to("blue")])], [cluster("blue", front)])
    outbound = with_registry_api(outbound, sofa_port=consumer_api)
    with ExitStack() as stack:
        sidecar = stack.enter_context(Proxy(inbound, tmp_path, name="inbound"))
        stack.enter_context(Proxy(outbound, tmp_path, name="outbound"))
        blue = stack.enter_context(Provider("SofaApp", "blue", app, tmp_path, f"mesh://127.0.0.1:{provider_api}"))
        eventually(lambda: len(servicer.current) == 1, what="a publication")
        publication = servicer.current[0]
        assert publication.service.startswith("mesh.isthmus.apps.Greeter:1.0")
        assert (publication.protocol, publication.host, publication.port) == ("bolt", "127.0.0.1", front)
        consumer = stack.enter_context(Consumer("SofaApp", tmp_path, "-", f"mesh://127.0.0.1:{consumer_api}"))
        assert consumer.call("greet", "hello") == "ok blue hello"
        blue.stop()
        # One that stops in order may withdraw what it published before it falls silent.
        eventually(lambda: servicer.health != ANSWERING, what="the word that the application is gone")
        blue.start()
        eventually(lambda: servicer.health == ANSWERING, what="the word that it is back")
        eventually(lambda: consumer.call("greet", "again") == "ok blue again", what="a call after the restart")
        sidecar.kill()
        eventually(lambda: servicer.ended == 1, what="the end of the lease with the sidecar")


def test_dubbo_applications_publish_and_call_over_the_api_of_their_sidecars(
    registrations: tuple[Registrations, int], tmp_path: Path
) -> None:
    servicer, grpc_port = registrations
    app, front, out, provider_api, consumer_api = (free_port() for _ in range(5))
    inbound = bootstrap(
        [listener("in", front, "dubbo", [to("app")])], [cluster("app", app), cluster("bridge", grpc_port)]
    )
    inbound["static_resources"]["clusters"][1]["http2_protocol_options"] = {}
    check = {"port": app, "codec": "dubbo", "interval": "0.2s", "failures": 2}
    inbound = with_registry_api(
        inbound, dubbo_port=provider_api, inbound_port=front, registration_cluster="bridge", application_check=check
    )
    outbound = bootstrap([listener("out", out, "dubbo", [to("blue")])], [cluster("blue", front)])
    outbound = with_registry_api(outbound, dubbo_port=consumer_api, outbound_port=out)
    with ExitStack() as stack:
        stack.enter_context(Proxy(inbound, tmp_path, name="inbound"))
        stack.enter_context(Proxy(outbound, tmp_path, name="outbound"))
        api = f"127.0.0.1:{provider_api}"
        blue = stack.enter_context(Provider("DubboApp", "blue", app, tmp_path, "dubbo", api))
        eventually(lambda: len(servicer.current) == 1, what="a publication")
        publication = servicer.current[0]
        assert (publication.service, publication.protocol) == ("mesh.isthmus.apps.Greeter", "dubbo")
        assert publication.port == front
        consumer = stack.enter_context(
            Consumer("DubboApp", tmp_path, f"127.0.0.1:{out}", "dubbo", f"127.0.0.1:{consumer_api}")
        )
        assert consumer.call("greet", "hello") == "ok blue hello"
        blue.stop()
        eventually(lambda: servicer.health == SILENT, what="the word that the application is gone")
