"""Puts the registry API together: its servers, the stream to the registration service, the look at the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.registry_api.application_check import watch
from isthmus_proxy.registry_api.dubbo import DubboApi
from isthmus_proxy.registry_api.model import RegistryApiConfig
from isthmus_proxy.registry_api.registry import ApplicationRegistry
from isthmus_proxy.registry_api.server import Answer, registry_api_server
from isthmus_proxy.registry_api.sofa import SofaApi
from isthmus_proxy.rpc.codecs import make_codec

if TYPE_CHECKING:
    from isthmus_proxy.http.surroundings import Surroundings
    from isthmus_proxy.observe.stats_scope import StatsScope

Leave = Callable[[], Awaitable[None]]
"""Tells the registration service that the sidecar is about to stop; ends by itself within a bound."""
LOOPBACK = "127.0.0.1"


async def start(
    config: RegistryApiConfig,
    node_id: str,
    zone: str,
    surroundings: Surroundings,
    scope: StatsScope,
    nursery: trio.Nursery,
) -> Leave | None:
    """Begin to serve, in ``nursery``. Returns what to call before the sidecar stops. Raises ConfigError for a port that cannot be had."""
    leave: Leave | None = None
    registry = ApplicationRegistry()
    if config.clusters:
        from isthmus_proxy.grpc.client import GrpcClient  # noqa: PLC0415 - only where publications go somewhere
        from isthmus_proxy.registry_api.registration import Registration, epoch_ms  # noqa: PLC0415 - the same

        registration = Registration(registry, config, (node_id, zone), GrpcClient(surroundings), scope, epoch_ms)
        registry.changed = registration.changed
        leave = registration.leave
        nursery.start_soon(registration.run)
    if config.sofa_port:
        sofa = SofaApi(registry, f"{LOOPBACK}:{config.outbound_port}")
        await _serve(sofa.answer, config.sofa_port, "sofa_port", nursery)
    if config.dubbo_port:
        await _serve(DubboApi(registry).answer, config.dubbo_port, "dubbo_port", nursery)
    if config.check is not None:
        nursery.start_soon(watch, config.check, make_codec(config.check.codec), registry)
    return leave


async def _serve(answer: Answer, port: int, field: str, nursery: trio.Nursery) -> None:
    try:
        listeners = await trio.open_tcp_listeners(port, host=LOOPBACK)
    except OSError as error:
        reason = f"cannot be listened on: {error.strerror or error}"
        raise ConfigError(f"bootstrap_extensions.{field}", str(port), reason) from error
    nursery.start_soon(registry_api_server(answer).run, listeners)
