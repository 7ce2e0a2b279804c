"""Secrets over xDS (SDS): certificates and roots by name, on the stream that everything else comes on. No I/O.

Imported by the first configuration that names such a secret. A secret that cannot be used is refused, and what was stays; that
one is gone says nothing about those who use it, so it stays as well (as in Envoy).
"""

from __future__ import annotations

from collections.abc import Callable

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage

from isthmus_proxy.config.secret import SECRET_TYPE, compile_secret
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.context import check_secret
from isthmus_proxy.tls.model import Secret
from isthmus_proxy.xds.resources import Update, know


class SecretDiscovery:
    """A ``tls.secrets.RemoteSecrets``. ``subscribe`` is called with all the names that are wanted."""

    __slots__ = ("_known", "_observers", "_subscribe")

    def __init__(self, subscribe: Callable[[frozenset[str]], None]) -> None:
        know(SECRET_TYPE, SecretMessage, "name")
        self._subscribe = subscribe
        self._known: dict[str, Secret] = {}
        self._observers: dict[str, list[Callable[[], None]]] = {}

    def get(self, name: str) -> Secret | None:
        """See RemoteSecrets."""
        return self._known.get(name)

    def watch(self, name: str, changed: Callable[[], None]) -> None:
        """See RemoteSecrets."""
        observers = self._observers.setdefault(name, [])
        observers.append(changed)
        if len(observers) == 1:
            self._subscribe(frozenset(self._observers))

    def forget(self, name: str, changed: Callable[[], None]) -> None:
        """See RemoteSecrets."""
        observers = self._observers.get(name, [])
        if changed not in observers:
            return
        observers.remove(changed)
        if not observers:
            del self._observers[name]
            self._known.pop(name, None)
            self._subscribe(frozenset(self._observers))

    def apply(self, update: Update) -> dict[str, str]:
        """SDS. Returns reasons by name for what is refused."""
        refused: dict[str, str] = {}
        for resource in update.resources:
            try:
                name, secret = compile_secret(resource.message)
                check_secret(secret)
            except ConfigError as error:
                refused[resource.name] = str(error)
                continue
            if self._known.get(name) != secret:
                self._known[name] = secret
                for changed in list(self._observers.get(name, ())):
                    changed()
        return refused
