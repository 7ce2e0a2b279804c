"""Makes the TLS of filter chains and clusters, and knows all that is in use. Made when the first of them is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.reactor.reactor import Reactor
from isthmus_proxy.tls.client import ClientTls
from isthmus_proxy.tls.credentials import Credentials, Loaded
from isthmus_proxy.tls.file_watch import FileWatch
from isthmus_proxy.tls.info import CertificateMemo
from isthmus_proxy.tls.model import ClientTlsConfig, CommonTls, Secret, ServerTlsConfig, TlsDetails
from isthmus_proxy.tls.secrets import RemoteSecrets, SecretStore
from isthmus_proxy.tls.server import ServerTls
from isthmus_proxy.tls.stats import TlsStats

_DAY = 86_400.0


class TlsFactory:
    """See the module. ``static_secrets`` are those of the bootstrap file."""

    __slots__ = ("_in_use", "memo", "reactor", "secrets", "watch")

    def __init__(
        self,
        reactor: Reactor,
        static_secrets: Mapping[str, Secret],
        remote_secrets: Callable[[], RemoteSecrets] | None = None,
    ) -> None:
        self.reactor = reactor
        self.watch = FileWatch(reactor)
        self.secrets = SecretStore(static_secrets, _read_file, self.watch, remote_secrets)
        self.memo = CertificateMemo()
        self._in_use: list[ServerTls | ClientTls] = []

    def _credentials(self, common: CommonTls) -> Callable[[Callable[[], None]], Credentials]:
        return partial(Credentials, common, self.secrets, self.watch)

    def server(self, config: ServerTlsConfig, scope: StatsScope, handshake_timeout: float) -> ServerTls:
        """TLS of a filter chain; ``scope`` is its listener's. Raises ConfigError."""
        slow = scope.counter("downstream_cx_transport_socket_connect_timeout")
        stats = TlsStats(scope, "server")
        made = ServerTls(config, self._credentials(config.common), stats, self.memo, slow, handshake_timeout)
        self._in_use.append(made)
        return made

    def client(self, config: ClientTlsConfig, scope: StatsScope) -> ClientTls:
        """TLS to endpoints; ``scope`` is their cluster's. Raises ConfigError."""
        made = ClientTls(config, self._credentials(config.common), TlsStats(scope, "client"), self.memo)
        self._in_use.append(made)
        return made

    def release(self, tls: ServerTls | ClientTls) -> None:
        """It is not used any more."""
        if tls in self._in_use:
            self._in_use.remove(tls)
            tls.close()

    def certificates(self, now: float) -> Iterator[dict[str, object]]:
        """Everything in use, as envoy.admin.v3.Certificate; ``now`` in seconds since 1970."""
        for each in self._in_use:
            for loaded in each.certificates():
                yield _shown(loaded, now)


def _read_file(path: str) -> Mapping[str, Secret]:
    from isthmus_proxy.config.secret import read_secrets  # noqa: PLC0415 - few configurations have such files

    return read_secrets(path)


def _shown(loaded: Loaded, now: float) -> dict[str, object]:
    roots = loaded.validation
    return {
        "ca_cert": [_details(each.details, roots.origin, now) for each in roots.certificates]
        if roots is not None
        else [],
        "cert_chain": [_details(each.leaf.details, each.origin, now) for each in loaded.certificates],
    }


def _details(details: TlsDetails, origin: str, now: float) -> dict[str, object]:
    names = [
        *({"dns": name} for name in details.dns_sans),
        *({"uri": name} for name in details.uri_sans),
        *({"ip_address": name} for name in details.ip_sans),
    ]
    return {
        "path": origin,
        "serial_number": details.serial,
        "subject_alt_names": names,
        "days_until_expiration": str(max(0, int((details.not_after - now) // _DAY))),
        "valid_from": _iso(details.not_before),
        "expiration_time": _iso(details.not_after),
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
