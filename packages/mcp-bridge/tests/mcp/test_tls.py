"""The MCP port under TLS: who is let in, and certificates that are renewed."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import grpc
import pytest

from isthmus_mcp_bridge.app import serve
from isthmus_mcp_bridge.config.model import Address, BridgeConfig, FileConfig, McpConfig, RegistryConfig
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.mcp.tls import TlsFiles

pytestmark = pytest.mark.asyncio
FREE = Address("127.0.0.1", 0)


def issue(base: Path, name: str, ca: str = "") -> None:
    """A key and a certificate for localhost, signed by ``ca`` or by itself."""
    key, certificate = base / f"{name}.key", base / f"{name}.pem"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    signed = ["-CA", str(base / f"{ca}.pem"), "-CAkey", str(base / f"{ca}.key")] if ca else []
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run([*command, *files, *subject, *signed], check=True, capture_output=True, timeout=60)


def configuration(base: Path, *, client_ca: bool) -> BridgeConfig:
    files = TlsFiles(base / "server.pem", base / "server.key", base / "clients.pem" if client_ca else None)
    registry = RegistryConfig("files", FileConfig(base))
    return BridgeConfig((registry,), McpConfig(FREE, tls=files), FREE)


def credentials_of(ca: Path, client: Path | None) -> grpc.ChannelCredentials:
    key = client.with_suffix(".key").read_bytes() if client else None
    return grpc.ssl_channel_credentials(ca.read_bytes(), key, client.read_bytes() if client else None)


async def connects(address: str, ca: Path, client: Path | None = None) -> bool:
    """Whether a handshake succeeds, with the server verified by ``ca``."""
    credentials = credentials_of(ca, client)
    port = address.rpartition(":")[2]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        method = channel.unary_unary("/no.such/Method", bytes, bytes)
        try:
            await method(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
    raise AssertionError("the method exists")


async def test_tls_and_a_renewed_certificate(tmp_path: Path) -> None:
    await asyncio.to_thread(issue, tmp_path, "server")
    await asyncio.to_thread(issue, tmp_path, "other")
    async with serve(configuration(tmp_path, client_ca=False), []) as addresses:
        assert await connects(addresses["mcp"], tmp_path / "server.pem")
        assert not await connects(addresses["mcp"], tmp_path / "other.pem")
        for suffix in ("pem", "key"):
            (tmp_path / f"server.{suffix}").write_bytes((tmp_path / f"other.{suffix}").read_bytes())
        assert await connects(addresses["mcp"], tmp_path / "other.pem")
        (tmp_path / "server.key").unlink()
        assert await connects(addresses["mcp"], tmp_path / "other.pem")


async def test_mutual_tls_lets_only_known_clients_in(tmp_path: Path) -> None:
    for name, ca in (("server", ""), ("clients", ""), ("stranger", ""), ("client", "clients")):
        await asyncio.to_thread(issue, tmp_path, name, ca)
    async with serve(configuration(tmp_path, client_ca=True), []) as addresses:
        assert await connects(addresses["mcp"], tmp_path / "server.pem", tmp_path / "client.pem")
        assert not await connects(addresses["mcp"], tmp_path / "server.pem", tmp_path / "stranger.pem")
        assert not await connects(addresses["mcp"], tmp_path / "server.pem")


async def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"mcp\.tls: .*server\.key: cannot be read"):
        async with serve(configuration(tmp_path, client_ca=False), []):
            pass
