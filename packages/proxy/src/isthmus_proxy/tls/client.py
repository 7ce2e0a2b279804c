"""TLS of one cluster (or of some of its endpoints): opens connections, checks who answers, and remembers sessions."""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from ssl import SSLContext, SSLSession
from typing import TYPE_CHECKING

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.reactor.tls_connection import TlsConnection
from isthmus_proxy.tls.context import client_context
from isthmus_proxy.tls.credentials import Credentials, Loaded, keep
from isthmus_proxy.tls.engine import TlsEngine
from isthmus_proxy.tls.failure import TlsFailure, unverified
from isthmus_proxy.tls.info import CertificateMemo, TlsInfo
from isthmus_proxy.tls.model import ClientTlsConfig, TlsDetails
from isthmus_proxy.tls.san_match import PeerCheck, dns_name_fits, wrong_name
from isthmus_proxy.tls.stats import TlsStats

if TYPE_CHECKING:
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.cluster.model import ClusterConfig
    from isthmus_proxy.cluster.transport import TransportOptions
    from isthmus_proxy.upstream.transports import Securing


NOT_READY = "TLS error: Secret is not supplied by SDS"


class ClientSide:
    """One version of the credentials, and the sessions begun with it: the newest for each server name."""

    __slots__ = ("_check", "_config", "_contexts", "_limit", "_local", "_memo", "_sessions", "_stats", "loaded")

    def __init__(self, config: ClientTlsConfig, loaded: Loaded, stats: TlsStats, memo: CertificateMemo) -> None:
        self.loaded = loaded
        self._config = config
        self._contexts: dict[tuple[str, ...], SSLContext] = {}
        self._context(config.common.alpn)
        self._check = PeerCheck(loaded.validation.rules) if loaded.validation is not None else None
        self._local = loaded.certificates[0].leaf.details if loaded.certificates else None
        self._limit = config.max_session_keys
        self._sessions: OrderedDict[tuple[SSLContext, str], SSLSession] = OrderedDict()
        self._stats = stats
        self._memo = memo

    def _context(self, alpn: tuple[str, ...]) -> SSLContext:
        """The context that offers ``alpn``: there are few such lists, one for each protocol of connections."""
        context = self._contexts.get(alpn)
        if context is None:
            loaded = self.loaded
            context = self._contexts[alpn] = client_context(self._config, loaded.certificates, loaded.validation, alpn)
        return context

    def engine(self, server_name: str, alpn: tuple[str, ...]) -> TlsEngine:
        """The machine of a connection that asks for ``server_name``, and goes on with a session where it can."""
        context = self._context(alpn)
        session = self._sessions.get((context, server_name))
        return TlsEngine(context, server_side=False, server_name=server_name or None, session=session)

    def accepted(self, engine: TlsEngine, san: str) -> None:
        """See ``reactor.tls_connection.Handshake``."""
        info = TlsInfo(engine, self._memo, self._local, engine.server_name)
        peer = info.peer_certificate
        if self._check is not None and self._check.needed:
            if peer is None:
                raise unverified("the certificate cannot be read", "fail_verify_no_cert")
            self._check.check(peer)
        if san and (peer is None or not _is_for(san, peer.details)):
            raise wrong_name(peer.details if peer is not None else TlsDetails(), san)
        engine.info = info
        self._stats.handshake(engine, client_certificate=True)
        self.remember(engine)

    def remember(self, engine: TlsEngine) -> None:
        """Keep the session for the next connection: with TLS 1.3 its ticket comes after the handshake."""
        session = engine.ssl.session
        if not self._limit or session is None or (not session.has_ticket and not session.id):
            return
        key = (engine.ssl.context, engine.server_name)
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        if len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)

    def failed(self, failure: TlsFailure) -> None:
        """See Handshake."""
        self._stats.failed(failure)


class _Attempt:
    """The handshake of one connection (``reactor.tls_connection.Handshake``)."""

    __slots__ = ("_done", "_san", "_side")

    def __init__(self, side: ClientSide, san: str, done: Callable[[], None]) -> None:
        self._side = side
        self._san = san
        self._done = done

    def ready(self) -> None:
        """See Handshake."""
        self._done()

    def accepted(self, engine: TlsEngine) -> None:
        """See Handshake."""
        self._side.accepted(engine, self._san)

    def received(self, engine: TlsEngine) -> None:
        """See Handshake."""
        self._side.remember(engine)

    def failed(self, failure: TlsFailure) -> None:
        """See Handshake."""
        self._side.failed(failure)

    def timed_out(self) -> None:
        """Whoever connects has a deadline of its own."""


def _is_for(name: str, details: TlsDetails) -> bool:
    try:
        return str(ipaddress.ip_address(name)) in details.ip_sans
    except ValueError:
        return any(dns_name_fits(name, pattern) for pattern in details.dns_sans)


class ClientTls:
    """See the module."""

    __slots__ = ("_config", "_credentials", "_memo", "_stats", "current")

    def __init__(
        self,
        config: ClientTlsConfig,
        credentials: Callable[[Callable[[], None]], Credentials],
        stats: TlsStats,
        memo: CertificateMemo,
    ) -> None:
        """Raises ConfigError for certificates that cannot be used."""
        self._config = config
        self._stats = stats
        self._memo = memo
        self.current: ClientSide | None = None
        self._credentials = credentials(self._changed)
        try:
            self.current = self._make()
        except ConfigError:
            self._credentials.close()
            raise

    def _make(self) -> ClientSide | None:
        loaded = self._credentials.load()
        return ClientSide(self._config, loaded, self._stats, self._memo) if loaded is not None else None

    def _changed(self) -> None:
        try:
            made = self._make()
        except ConfigError as error:
            keep(error, "a cluster")
            return
        if made is not None:
            self.current = made
            self._stats.updates.value += 1

    def open(
        self,
        reactor: Reactor,
        sock: socket.socket,
        securing: Securing,
        limit: int,
        endpoint: Endpoint,
        cluster: ClusterConfig,
        options: TransportOptions,
        alpn: tuple[str, ...],
    ) -> TlsConnection:
        """A connection over TLS to ``endpoint`` on ``sock``, not started. Raises TlsFailure without certificates.

        The server name of ``options`` is the one that a request asks for (auto_sni), empty otherwise. ``alpn`` is what the protocol
        that is to be spoken offers where the configuration does not say.
        """
        side, config = self.current, self._config
        if side is None:
            self._stats.not_ready.value += 1
            raise TlsFailure(NOT_READY)
        authority = options.server_name
        name = authority or (endpoint.config.hostname if config.auto_host_sni else "") or config.sni
        checked = config.auto_sni_san_validation or (cluster.auto_san_validation and bool(authority))
        offered = options.application_protocols or (alpn if len(alpn) > 1 else config.common.alpn or alpn)
        attempt = _Attempt(side, name if checked else "", securing.done)
        return TlsConnection(reactor, sock, securing, limit, side.engine(name, offered), attempt)

    def certificates(self) -> Iterator[Loaded]:
        """What is in use."""
        if self.current is not None:
            yield self.current.loaded

    def close(self) -> None:
        """Its cluster is no more."""
        self._credentials.close()
