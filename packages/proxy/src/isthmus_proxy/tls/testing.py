"""For tests: certificates made by the openssl program, configurations that name them, and peers that speak TLS.

Nothing here is imported by the proxy itself.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from isthmus_proxy.cluster.transport import TransportSocket
from isthmus_proxy.testing import Peer, Proxy, answer_ok
from isthmus_proxy.tls.model import (
    CertificateConfig,
    ClientTlsConfig,
    CommonTls,
    DataSource,
    ServerTlsConfig,
    TlsParameters,
    ValidationConfig,
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key as files."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.read_text()

    @property
    def key_pem(self) -> str:
        """Its key."""
        return self.key.read_text()


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.name = name
        options = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        self.root = self._paths(name)
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
            "-subj", f"/O=Isthmus/CN={name}", "-keyout", self.root.key, "-out", self.root.certificate, *options,
        )  # fmt: skip

    def _paths(self, name: str) -> Issued:
        return Issued(self.directory / f"{name}.pem", self.directory / f"{name}.key")

    def issue(self, name: str, *sans: str, rsa: bool = False, days: int = 365) -> Issued:
        """A certificate for ``CN=name`` with ``sans`` as openssl writes them (``DNS:a.example``, ``URI:spiffe://x/y``)."""
        issued = self._paths(name)
        key = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        request = self.directory / f"{name}.csr"
        subject = f"/C=DE/O=Isthmus/OU=Tests, and more/CN={name}"
        _openssl("req", "-newkey", *key, "-nodes", "-subj", subject, "-keyout", issued.key, "-out", request)
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(
            f"basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nsubjectAltName={','.join(sans) or f'DNS:{name}'}\n"
        )
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.root.certificate, "-CAkey", self.root.key, "-CAcreateserial",
            "-days", str(days), "-extfile", extensions, "-out", issued.certificate,
        )  # fmt: skip
        return issued


@dataclass(frozen=True, slots=True)
class Files:
    """What most tests need: a server and its client under one authority, and an authority that nobody trusts."""

    authority: Authority
    stranger: Authority
    server: Issued
    wild: Issued
    rsa: Issued
    client: Issued
    outsider: Issued


def make_files(directory: Path) -> Files:
    """Make them."""
    authority, stranger = Authority(directory / "ca"), Authority(directory / "stranger", "stranger")
    names = ("DNS:server.example", "DNS:two.example", "URI:spiffe://mesh/server", "IP:127.0.0.1")
    return Files(
        authority,
        stranger,
        authority.issue("server", *names),
        authority.issue("wild", "DNS:*.wild.example"),
        authority.issue("rsa", "DNS:server.example", "email:a@b.example", "IP:2001:db8::1", rsa=True),
        authority.issue("client", "URI:spiffe://mesh/client", "DNS:client.example"),
        stranger.issue("outsider", "URI:spiffe://mesh/client"),
    )


def encrypted_key(issued: Issued, password: str) -> Path:
    """The key of ``issued``, encrypted."""
    path = issued.key.with_suffix(".encrypted")
    _openssl("pkey", "-in", issued.key, "-aes256", "-passout", f"pass:{password}", "-out", path)
    return path


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments[:2]))} failed: {done.stderr}")


def source(issued: Issued, **options: object) -> CertificateConfig:
    """Certificate and key of ``issued``, as files."""
    chain, key = DataSource(str(issued.certificate)), DataSource(str(issued.key))
    return CertificateConfig(chain, key, **options)  # type: ignore[arg-type]


def roots(files: Files, **options: object) -> ValidationConfig:
    """Trust in the authority of ``files``."""
    return ValidationConfig(DataSource(str(files.authority.root.certificate)), **options)  # type: ignore[arg-type]


def server_tls(
    *certificates: CertificateConfig, validation: ValidationConfig | None = None, **options: object
) -> ServerTlsConfig:
    """TLS of a listener with these certificates."""
    alpn = options.pop("alpn", ())
    return ServerTlsConfig(CommonTls(certificates=certificates, validation=validation, alpn=alpn), **options)  # type: ignore[arg-type]


def client_tls(
    validation: ValidationConfig | None = None, *certificates: CertificateConfig, **options: object
) -> TransportSocket:
    """TLS to endpoints."""
    common = CommonTls(TlsParameters(maximum="1.3"), certificates, validation=validation)
    return TransportSocket(ClientTlsConfig(common, **options))  # type: ignore[arg-type]


class TlsPeer(Peer):
    """A client or a server that speaks TLS."""

    secure: trio.SSLStream[trio.SocketStream]


@asynccontextmanager
async def secure_origin(
    proxy: Proxy, issued: Issued, client_roots: Files | None = None
) -> AsyncIterator[tuple[int, list[TlsPeer]]]:
    """Answers 200 over TLS; gives its port and the connections that it took."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.set_alpn_protocols(["http/1.1"])
    if client_roots is not None:
        context.load_verify_locations(client_roots.authority.root.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    taken: list[TlsPeer] = []

    async def script(peer: Peer, number: int) -> None:
        secure = trio.SSLStream(peer.stream, context, server_side=True, https_compatible=True)
        await secure.do_handshake()
        served = TlsPeer(secure)  # type: ignore[arg-type]
        served.secure = secure
        taken.append(served)
        await answer_ok(served, number)

    yield (await proxy.origin(script)).port, taken
