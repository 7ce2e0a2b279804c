"""What TLS counts, under Envoy's names below ``listener.<address>.ssl.`` and ``cluster.<name>.ssl.``."""

from __future__ import annotations

from isthmus_proxy.observe.stats_scope import StatsScope
from isthmus_proxy.tls.engine import TlsEngine
from isthmus_proxy.tls.failure import TlsFailure

_NAMES = (
    "connection_error", "fail_verify_cert_hash", "fail_verify_error", "fail_verify_no_cert", "fail_verify_san", "handshake",
    "no_certificate", "ocsp_staple_failed", "ocsp_staple_omitted", "ocsp_staple_requests", "ocsp_staple_responses", "session_reused",
    "was_key_usage_invalid",
)  # fmt: skip
_MAX_NAMED = 64
"""Distinct ciphers and versions counted one by one; OpenSSL has fewer."""


class TlsStats:
    """Counters of one side. ``context`` is the prefix of what its secrets count: server_ssl_socket_factory or the client's."""

    __slots__ = ("_counters", "_named", "_scope", "not_ready", "updates")

    def __init__(self, scope: StatsScope, side: str) -> None:
        self._scope = scope
        self._counters = {name: scope.counter(f"ssl.{name}") for name in _NAMES}
        self._named: set[str] = set()
        factory = f"{side}_ssl_socket_factory"
        self.updates = scope.counter(f"{factory}.ssl_context_update_by_sds")
        prefix = "downstream" if side == "server" else "upstream"
        self.not_ready = scope.counter(f"{factory}.{prefix}_context_secrets_not_ready")

    def failed(self, failure: TlsFailure) -> None:
        """Count a failure."""
        self._counters[failure.counter].value += 1

    def handshake(self, engine: TlsEngine, *, client_certificate: bool) -> None:
        """Count a handshake, with what was agreed."""
        self._counters["handshake"].value += 1
        if engine.ssl.session_reused:
            self._counters["session_reused"].value += 1
        if not client_certificate:
            self._counters["no_certificate"].value += 1
        self._count(f"ssl.versions.{engine.ssl.version()}")
        cipher = engine.ssl.cipher()
        if cipher is not None:
            self._count(f"ssl.ciphers.{cipher[0]}")

    def _count(self, name: str) -> None:
        if name in self._named or len(self._named) < _MAX_NAMED:
            self._named.add(name)
            self._scope.counter(name).value += 1
