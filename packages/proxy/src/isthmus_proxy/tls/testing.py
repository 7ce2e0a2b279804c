"""Certificates for tests, made by the openssl program: authorities, servers, clients. Nothing here is imported by the proxy itself."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


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
