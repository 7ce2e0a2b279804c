"""TLS of the MCP port: server certificate, and client certificates where a CA for them is given. Files are read again when
they change, so that certificates can be renewed without a restart."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import grpc

from isthmus_mcp_bridge.errors import BridgeError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, absolute. With ``client_ca`` clients must present a certificate that it has signed."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files. Raises BridgeError when they cannot be read now."""
    return _Reloading(files).credentials()


class _Reloading:
    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._read = self._content()

    def credentials(self) -> grpc.ServerCredentials:
        dynamic: Any = grpc.dynamic_ssl_server_credentials
        made: grpc.ServerCredentials = dynamic(self._configuration(), self._fetch, self._files.client_ca is not None)
        return made

    def _fetch(self) -> Any:
        """gRPC asks at every handshake, in a thread of its own; None keeps what there is."""
        try:
            content = self._content()
        except BridgeError as error:
            log.error("%s; the certificate in use stays", error)
            return None
        if content == self._read:
            return None
        self._read = content
        log.info("mcp.tls: the certificate was read anew")
        return self._configuration()

    def _configuration(self) -> Any:
        key, certificate, client_ca = self._read
        configuration: Any = grpc.ssl_server_certificate_configuration
        return configuration([(key, certificate)], client_ca)

    def _content(self) -> tuple[bytes, bytes, bytes | None]:
        files = self._files
        client_ca = _bytes(files.client_ca) if files.client_ca is not None else None
        return _bytes(files.private_key), _bytes(files.certificate), client_ca


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BridgeError(f"mcp.tls: {path}: cannot be read ({error.strerror or error})") from error
