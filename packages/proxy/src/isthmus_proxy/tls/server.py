"""TLS of one filter chain: takes connections over, knows its certificates, and goes on with new ones when they change."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.observe.stats import Counter
from isthmus_proxy.reactor.connection import Receiver
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.reactor.tls_connection import TlsConnection
from isthmus_proxy.tls.context import ServerContexts, requested_name
from isthmus_proxy.tls.credentials import Credentials, Loaded, keep
from isthmus_proxy.tls.engine import TlsEngine
from isthmus_proxy.tls.failure import TlsFailure, unverified
from isthmus_proxy.tls.info import CertificateMemo, TlsInfo
from isthmus_proxy.tls.model import ServerTlsConfig
from isthmus_proxy.tls.san_match import PeerCheck
from isthmus_proxy.tls.stats import TlsStats


class ServerSide:
    """One version of the credentials. Connections keep the one with which they began."""

    __slots__ = ("_check", "_memo", "_slow", "_stats", "contexts", "loaded")

    def __init__(
        self, config: ServerTlsConfig, loaded: Loaded, stats: TlsStats, memo: CertificateMemo, slow: Counter
    ) -> None:
        self.loaded = loaded
        self.contexts = ServerContexts(config, loaded.certificates, loaded.validation)
        self._check = PeerCheck(loaded.validation.rules) if loaded.validation is not None else None
        self._stats = stats
        self._memo = memo
        self._slow = slow

    def accepted(self, engine: TlsEngine) -> None:
        """See ``reactor.tls_connection.Handshake``."""
        material = self.contexts.material_of(engine.ssl)
        info = TlsInfo(
            engine, self._memo, material.leaf.details if material is not None else None, requested_name(engine.ssl)
        )
        if info.mutual and self._check is not None and self._check.needed:
            if info.peer_certificate is None:
                raise unverified("the certificate cannot be read", "fail_verify_error")
            self._check.check(info.peer_certificate)
        engine.info = info
        self._stats.handshake(engine, client_certificate=info.mutual)

    def ready(self) -> None:
        """See Handshake."""

    def received(self, engine: TlsEngine) -> None:
        """See Handshake. Servers get no tickets."""

    def failed(self, failure: TlsFailure) -> None:
        """See Handshake."""
        self._stats.failed(failure)

    def timed_out(self) -> None:
        """See Handshake."""
        self._slow.value += 1


class ServerTls:
    """See the module. ``handshake_timeout`` in seconds, 0 = none. Without its secrets it takes no connection."""

    __slots__ = ("_config", "_credentials", "_memo", "_ready", "_slow", "_stats", "current", "handshake_timeout")

    def __init__(
        self,
        config: ServerTlsConfig,
        credentials: Callable[[Callable[[], None]], Credentials],
        stats: TlsStats,
        memo: CertificateMemo,
        slow: Counter,
        handshake_timeout: float,
    ) -> None:
        """Raises ConfigError for certificates that cannot be used."""
        self._config = config
        self._stats = stats
        self._memo = memo
        self._slow = slow
        self.handshake_timeout = handshake_timeout
        self.current: ServerSide | None = None
        self._credentials = credentials(self._changed)
        try:
            self.current = self._make()
        except ConfigError:
            self._credentials.close()
            raise

    def _make(self) -> ServerSide | None:
        loaded = self._credentials.load()
        return ServerSide(self._config, loaded, self._stats, self._memo, self._slow) if loaded is not None else None

    def _changed(self) -> None:
        try:
            made = self._make()
        except ConfigError as error:
            keep(error, "a filter chain")
            return
        if made is not None:
            self.current = made
            self._stats.updates.value += 1

    def refused(self) -> None:
        """A connection came while the certificates are not there."""
        self._stats.not_ready.value += 1

    def open(self, reactor: Reactor, sock: socket.socket, receiver: Receiver, limit: int) -> TlsConnection:
        """A connection over TLS on ``sock``, not started. The certificates are there."""
        side = self.current
        if side is None:
            raise AssertionError("a gate lets nobody in before the certificates are there")
        engine = TlsEngine(side.contexts.first, server_side=True)
        connection = TlsConnection(reactor, sock, receiver, limit, engine, side)
        if self.handshake_timeout:
            connection.limit_handshake(self.handshake_timeout)
        return connection

    def certificates(self) -> Iterator[Loaded]:
        """What is in use."""
        if self.current is not None:
            yield self.current.loaded

    def close(self) -> None:
        """Its filter chain is no more."""
        self._credentials.close()
