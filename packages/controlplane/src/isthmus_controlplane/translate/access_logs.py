"""Access logs of listeners, as Telemetry asks for them."""

from __future__ import annotations

from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.base_pb2 import DataSource, TrafficDirection
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from isthmus_api.istio.telemetry.v1alpha1 import telemetry_pb2
from isthmus_controlplane.model.policies import Policies, narrowest_last
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.collector import Collector
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.translation import LISTENER_TYPE

# Istio's default line (istio.io/latest/docs/tasks/observability/logs/access-log).
FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
_CLIENT, _SERVER, _BOTH = telemetry_pb2.CLIENT, telemetry_pb2.SERVER, telemetry_pb2.CLIENT_AND_SERVER


class AccessLogs:
    """Which sides of a scope log, and who says so."""

    def __init__(self, policies: Policies, scope: Scope) -> None:
        self._gateway = scope.kind == "gateway"
        self._sides: set[int] = set()
        self._decided_by: ConfigObject | None = None
        holding = policies.holding("Telemetry", scope.namespace, dict(scope.labels)) if scope.kind != "grpc" else []
        for policy in narrowest_last(holding):
            spec: Any = policy.spec
            if spec.access_logging:
                self._sides, self._decided_by = _sides(spec.access_logging), policy

    def add(self, out: Collector) -> None:
        """Give the listeners that are to log a log."""
        if not self._sides or self._decided_by is None:
            return
        for name, message in out.messages(LISTENER_TYPE).items():
            listener: Any = type(message)()
            listener.CopyFrom(message)
            side = _SERVER if listener.traffic_direction == TrafficDirection.INBOUND else _CLIENT
            if self._gateway or side in self._sides:
                for chain in listener.filter_chains:
                    _log(chain.filters[-1])
                out.replace(LISTENER_TYPE, name, listener, self._decided_by.key)


def _sides(settings: Any) -> set[int]:
    """Read the settings in their order: a later one overrides those before it on its sides."""
    sides: set[int] = set()
    for logging in settings:
        mode = logging.match.mode
        meant = {_CLIENT, _SERVER} if mode == _BOTH else {mode}
        sides = sides - meant if logging.disabled.value else sides | meant
    return sides


def _log(terminal: Any) -> None:
    """Add the log to a connection manager or a TCP proxy."""
    for kind in (HttpConnectionManager, TcpProxy):
        if terminal.typed_config.Is(kind.DESCRIPTOR):
            config: Any = kind.FromString(terminal.typed_config.value)
            config.access_log.append(_access_log())
            terminal.typed_config.CopyFrom(packed(config))


def _access_log() -> Any:
    line = SubstitutionFormatString(text_format_source=DataSource(inline_string=FORMAT))
    config = FileAccessLog(path="/dev/stdout", log_format=line)
    return AccessLog(name="envoy.access_loggers.file", typed_config=packed(config))
