"""Where connections of a filter chain with TLS pass: what serves them behind it opens them over TLS."""

from __future__ import annotations

from functools import partial

from isthmus_proxy.http.stream_info import ConnectionEnded
from isthmus_proxy.listener.accepted_socket import AcceptedSocket
from isthmus_proxy.listener.listener_log import accepted_info
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.tls.factory import TlsFactory
from isthmus_proxy.tls.server import ServerTls


class TlsGate:
    """A ``serving_chain.Gate``. Without its certificates every connection is closed, and ``refused`` told of it."""

    __slots__ = ("_factory", "_reactor", "_refused", "_tls")

    def __init__(self, factory: TlsFactory, tls: ServerTls, reactor: Reactor, refused: ConnectionEnded) -> None:
        self._factory = factory
        self._tls = tls
        self._reactor = reactor
        self._refused = refused

    def admit(self, accepted: AcceptedSocket) -> bool:
        """See ``serving_chain.Gate``."""
        if self._tls.current is None:
            self._tls.refused()
            self._reactor.close(accepted.sock)
            self._refused(0.0, partial(accepted_info, accepted))
            return False
        accepted.tls = self._tls
        return True

    def connection_closed(self) -> None:
        """See ``serving_chain.Gate``."""

    def close(self) -> None:
        """See ``serving_chain.Gate``: it holds no connection."""

    def release(self) -> None:
        """The filter chain is no more."""
        self._factory.release(self._tls)
