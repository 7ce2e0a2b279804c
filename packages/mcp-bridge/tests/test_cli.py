from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isthmus_mcp_bridge import __version__, cli

CONFIG = """
mcp: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
registries: [{name: files, file: {path: services}}]
"""


def test_validate_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.yaml").write_text(CONFIG)
    assert cli.main(["validate", "-c", str(tmp_path / "b.yaml")]) == 0
    assert "precedence: files" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_bad_configuration_is_one_line_and_status_1(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.yaml").write_text("registries: 7")
    assert cli.main([command, "-c", str(tmp_path / "b.yaml")]) == 1
    assert capsys.readouterr().err == f"isthmus-mcp-bridge: {tmp_path / 'b.yaml'}: registries: 7: must be a list\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"isthmus-mcp-bridge {__version__}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "b.yaml").write_text(CONFIG)
    addresses = tmp_path / "addresses"
    command = [
        sys.executable,
        "-m",
        "isthmus_mcp_bridge",
        "run",
        "-c",
        str(tmp_path / "b.yaml"),
        "--log-format",
        "json",
    ]
    with subprocess.Popen([*command, "--address-path", str(addresses)], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not addresses.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        bound = json.loads(addresses.read_text())
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(bound) == {"mcp", "admin"}
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines[-1]["message"] == "stopping"
    assert {"time", "level", "logger", "message"} <= lines[0].keys()
