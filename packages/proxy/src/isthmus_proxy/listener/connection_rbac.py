"""The rbac network filter: connections pass by where they come from and where they go (envoy.extensions.filters.network.rbac.v3).

It decides when a connection is accepted, before a byte of it is read; where policies ask who the peer of TLS is, when the
handshake is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.http.stream_info import ConnectionEnded
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.listener_log import accepted_info
from isthmus_proxy.listener.model import ConnectionRbacConfig
from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.rbac.engine import NAMELESS, Engine, PeerNames
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.route.metadata_match import Metadata

if TYPE_CHECKING:
    import socket

    from isthmus_proxy.listener.accepted_socket import ConnectionSecurity
    from isthmus_proxy.reactor.connection import Receiver
    from isthmus_proxy.reactor.tls_connection import Handshake, TlsConnection
    from isthmus_proxy.tls.engine import TlsEngine
    from isthmus_proxy.tls.failure import TlsFailure

_NO_REQUEST = RequestHead(b"", b"", b"", [])
_NOTHING: Metadata = {}
_NO_STATE: Mapping[str, str] = {}


class Comer:
    """A new connection as policies see it (``rbac.engine.Subject``). ``peer`` is known once a handshake has told it."""

    __slots__ = ("_accepted", "peer")

    def __init__(self, accepted: AcceptedSocket, peer: PeerNames | None = None) -> None:
        self._accepted = accepted
        self.peer = peer

    @property
    def head(self) -> RequestHead:
        """See ``Subject``: no request was read."""
        return _NO_REQUEST

    @property
    def source(self) -> str:
        """See ``Subject``."""
        return str(self._accepted.remote)

    @property
    def remote(self) -> str:
        """See ``Subject``."""
        return str(self._accepted.remote)

    @property
    def direct_remote(self) -> str:
        """See ``Subject``."""
        return str(self._accepted.direct_remote)

    @property
    def destination(self) -> str:
        """See ``Subject``."""
        return str(self._accepted.local)

    @property
    def server_name(self) -> str:
        """See ``Subject``."""
        return self._accepted.server_name

    @property
    def dynamic_metadata(self) -> Metadata:
        """See ``Subject``."""
        return _NOTHING

    @property
    def filter_state(self) -> Mapping[str, str]:
        """See ``Subject``."""
        return _NO_STATE

    @property
    def route_metadata(self) -> Metadata:
        """See ``Subject``."""
        return _NOTHING


class ConnectionRbac:
    """A ``serving_chain.Gate``. ``refused`` is called at the end of each connection that may not pass."""

    __slots__ = (
        "_after_handshake",
        "_allowed",
        "_denied",
        "_engine",
        "_reactor",
        "_refused",
        "_shadow",
        "_shadow_allowed",
        "_shadow_denied",
    )

    def __init__(
        self, config: ConnectionRbacConfig, scope: StatsScope, reactor: Reactor, refused: ConnectionEnded
    ) -> None:
        self._engine = Engine(config.rules) if config.rules is not None else None
        self._shadow = Engine(config.shadow_rules) if config.shadow_rules is not None else None
        self._after_handshake = config.after_handshake
        self._reactor = reactor
        self._refused = refused
        self._allowed = scope.counter("allowed")
        self._denied = scope.counter("denied")
        self._shadow_allowed = scope.counter("shadow_allowed")
        self._shadow_denied = scope.counter("shadow_denied")

    def admit(self, accepted: AcceptedSocket) -> bool:
        """See ``serving_chain.Gate``."""
        if self._after_handshake and accepted.tls is not None:
            accepted.tls = _JudgedTls(self, accepted, accepted.tls)
            return True
        if self.allows(Comer(accepted)):
            return True
        self._reactor.close(accepted.sock)
        self._refused(0.0, partial(accepted_info, accepted))
        return False

    def allows(self, comer: Comer) -> bool:
        """Judge a connection and count the verdicts."""
        if self._shadow is not None:
            (self._shadow_allowed if self._shadow.decide(comer).allowed else self._shadow_denied).value += 1
        if self._engine is None:
            return True
        allowed = self._engine.decide(comer).allowed
        (self._allowed if allowed else self._denied).value += 1
        return allowed

    def connection_closed(self) -> None:
        """See ``serving_chain.Gate``."""

    def close(self) -> None:
        """See ``serving_chain.Gate``: it holds no connection."""


class _JudgedTls:
    """TLS of a filter chain, whose connections are judged when the peer is known (``accepted_socket.ConnectionSecurity``)."""

    __slots__ = ("_accepted", "_gate", "_tls")

    def __init__(self, gate: ConnectionRbac, accepted: AcceptedSocket, tls: ConnectionSecurity) -> None:
        self._gate = gate
        self._accepted = accepted
        self._tls = tls

    def open(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, limit: int) -> TlsConnection:
        """See ``ConnectionSecurity``."""
        connection = self._tls.open(reactor, sock, receiver, limit)
        connection.ask_too(lambda handshake: _Judge(self._gate, self._accepted, handshake))
        return connection


class _Judge:
    """Refuses a peer by policy when its handshake is done (``reactor.tls_connection.Handshake``)."""

    __slots__ = ("_accepted", "_denied", "_gate", "_handshake")

    def __init__(self, gate: ConnectionRbac, accepted: AcceptedSocket, handshake: Handshake) -> None:
        self._gate = gate
        self._accepted = accepted
        self._handshake = handshake
        self._denied = False

    def accepted(self, engine: TlsEngine) -> None:
        """See Handshake."""
        from isthmus_proxy.tls.failure import TlsFailure  # noqa: PLC0415 - there is TLS, so it is loaded

        self._handshake.accepted(engine)
        info = engine.info
        peer = (info.peer if info is not None else None) or NAMELESS
        if not self._gate.allows(Comer(self._accepted, peer)):
            self._denied = True
            raise TlsFailure("access denied by policy")

    def ready(self) -> None:
        """See Handshake."""
        self._handshake.ready()

    def received(self, engine: TlsEngine) -> None:
        """See Handshake."""
        self._handshake.received(engine)

    def failed(self, failure: TlsFailure) -> None:
        """See Handshake. A refusal by policy is no failure of TLS."""
        if not self._denied:
            self._handshake.failed(failure)

    def timed_out(self) -> None:
        """See Handshake."""
        self._handshake.timed_out()
