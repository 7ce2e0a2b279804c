"""The command line as a process: start, addresses, signals, errors."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from isthmus_controlplane import __version__
from isthmus_controlplane.config import HostPort, parse_host_port
from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.supplement.testing import make_certificate
from isthmus_controlplane.xds.testing import eventually

COMMAND = [sys.executable, "-m", "isthmus_controlplane"]
PORTS = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"]


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_runs_until_told_to_stop_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "addresses"
    command = [*COMMAND, "run", "--store", "memory:", *PORTS, "--address-path", str(path), "--log-format", "json"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    await eventually(lambda: path.exists() or process.returncode is not None)
    addresses = json.loads(path.read_text())
    process.send_signal(number)
    _, log = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert addresses.keys() == {"grpc", "admin"}
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert messages[0] == f"serving xDS at {addresses['grpc']}, admin at {addresses['admin']}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "dir:/nonexistent"], "--store dir:/nonexistent: /nonexistent is not a directory"),
        (["--store", "consul://x"], "--store consul://x: is not dir:PATH"),
        (["--store", "memory:", "--mcp", "http://x"], "--mcp http://x: is not of the form xds://HOST:PORT"),
        (["--store", "memory:", "--mcp", "xds://h:1", "--mcp", "xds://h:1"], "given twice"),
        (["--store", "memory:", "--grpc", "nonsense"], "--grpc nonsense: is not of the form HOST:PORT"),
        (["--store", "memory:", "--admin", "127.0.0.1:99999"], "--admin 127.0.0.1:99999"),
        (["--store", "memory:", "--address-path", "/nonexistent/x"], "--address-path /nonexistent/x"),
        (["--store", "memory:", "--load-report-interval-s", "0"], "--load-report-interval-s 0: must be 0.1 to 300"),
        (["--store", "memory:", "--load-report-interval-s", "nan"], "--load-report-interval-s nan: must be"),
        (["--store", "memory:", "--resources", "/nonexistent"], "--resources /nonexistent: is not a directory"),
        (["--store", "memory:", "--secrets", "/nonexistent"], "--secrets /nonexistent: is not a directory"),
        (
            ["--store", "memory:", "--secrets", "/tmp", "--grpc", "0.0.0.0:0"],
            "could read the keys: serve xDS on loopback",
        ),
        (["--store", "memory:", "--grpc-key", "/x"], "--grpc-certificate, --grpc-key: give both"),
        (
            ["--store", "memory:", "--grpc-key", "/x", "--grpc-certificate", "/y"],
            "--grpc-certificate /y: cannot be read",
        ),
    ],
)
def test_a_wrong_setting_is_one_clear_message(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [*COMMAND, "run", *PORTS, *arguments], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("isthmus-controlplane: ")
    assert message in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["isthmus_controlplane", "isthmus_controlplane.ctl"])
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help(module: str, option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, option], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert (__version__ if option == "--version" else "usage:") in done.stdout


@pytest.mark.parametrize("text", ["", "x", ":1", "h:", "h:x", "h:65536", "::1:80", "a b:1"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_host_port(text, "--grpc")


def test_good_addresses() -> None:
    assert parse_host_port("127.0.0.1:0", "x") == HostPort("127.0.0.1", 0)
    assert str(parse_host_port("[::1]:80", "x")) == "[::1]:80"
    assert [parse_host_port(text, "x").is_loopback for text in ("[::1]:1", "localhost:1", "0.0.0.0:1", "h:1")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.asyncio
async def test_xds_over_tls_asks_clients_for_certificates(tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    certificate, key = make_certificate(tmp_path, "server")
    client, client_key = make_certificate(tmp_path, "client")
    files = ["--grpc-certificate", str(certificate), "--grpc-key", str(key), "--grpc-client-ca", str(client)]
    (tmp_path / "secrets").mkdir()
    # Clients that show certificates may be anywhere, also where there are secrets.
    listening = ["--grpc", "0.0.0.0:0", "--admin", "127.0.0.1:0", "--secrets", str(tmp_path / "secrets")]
    command = [*COMMAND, "run", "--store", "memory:", *listening, "--address-path", str(path), *files]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    await eventually(lambda: path.exists() or process.returncode is not None)
    port = json.loads(path.read_text())["grpc"].rpartition(":")[2]
    shown = grpc.ssl_channel_credentials(certificate.read_bytes(), client_key.read_bytes(), client.read_bytes())
    nothing = grpc.ssl_channel_credentials(certificate.read_bytes())
    assert await _health(port, shown) == b"\x08\x01"
    assert await _health(port, nothing) == grpc.StatusCode.UNAVAILABLE
    process.terminate()
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


async def _health(port: str, credentials: grpc.ChannelCredentials) -> object:
    channel: Any = grpc.aio.secure_channel(f"localhost:{port}", credentials)
    async with channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return await check(b"", timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
