"""Questions on the command line to a bridge that runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from isthmus_mcp_bridge import cli
from isthmus_mcp_bridge.app import serve
from isthmus_mcp_bridge.config.load import load_config
from isthmus_mcp_bridge.query import compare_collections
from isthmus_mcp_bridge.registries.build import build_registry

pytestmark = pytest.mark.asyncio
CONFIG = """
mcp: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
debounce: {quiet_ms: 1}
warm_start: {path: warm, flush_s: 0.1}
vips: {network: 240.240.0.0/16}
registries: [{name: files, file: {path: %s}}]
"""
SERVICES = """
services:
- host: reviews
  ports: [{name: http, number: 80, protocol: HTTP}]
  instances: [{address: 10.0.0.1, port: %d}]
"""


def prepare(base: Path, name: str, port: int) -> Path:
    (base / name).mkdir()
    (base / name / "a.yaml").write_text(SERVICES % port)
    config = base / f"{name}.yaml"
    config.write_text(CONFIG % name)
    return config


async def ask(*arguments: str) -> int:
    return await asyncio.to_thread(cli.main, list(arguments))


async def wait_ready(admin: str) -> None:
    async with asyncio.timeout(20):
        while await ask("explain", "reviews", "--admin", admin):
            pass


async def test_explain_sources_and_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = prepare(tmp_path, "one", 1)
    loaded = load_config(config)
    async with serve(loaded, [build_registry(loaded.registries[0], lambda: 0.5)]) as addresses:
        admin = addresses["admin"]
        await wait_ready(admin)
        capsys.readouterr()
        assert await ask("explain", "default/reviews", "--admin", admin) == 0
        assert "+ 10.0.0.1:1: up" in capsys.readouterr().out
        assert await ask("sources", "--admin", admin) == 0
        assert "files  LIVE" in capsys.readouterr().out
        assert await ask("sources", "--admin", admin, "-o", "json") == 0
        assert json.loads(capsys.readouterr().out)["sources"][0]["drifts"] == 0
        assert await ask("diff", "--admin", admin) == 0
        assert capsys.readouterr().out == "no difference\n"
        assert await ask("diff", "--shadow", "-c", str(prepare(tmp_path, "two", 2)), "--admin", admin) == 0
        assert capsys.readouterr().out == "~ default/reviews\n    other fields: spec.endpoints\n"
        assert await ask("diff", "--shadow", "--admin", admin) == 1
        assert "-c FILE" in capsys.readouterr().err
        assert await ask("explain", "nobody", "--admin", admin) == 1
        assert "no registry claims 'nobody'" in capsys.readouterr().err
    assert (tmp_path / "warm").stat().st_size > 0


async def test_a_bridge_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert await ask("sources", "--admin", "127.0.0.1:1") == 1
    assert "admin.address" in capsys.readouterr().err


async def test_a_warm_start_serves_before_the_registry_answers(tmp_path: Path) -> None:
    config = prepare(tmp_path, "one", 1)
    loaded = load_config(config)
    async with serve(loaded, [build_registry(loaded.registries[0], lambda: 0.5)]) as addresses:
        await wait_ready(addresses["admin"])
    async with serve(loaded, []) as addresses:
        await wait_ready(addresses["admin"])


async def test_collections_are_compared_by_version() -> None:
    entries = {"b": {"metadata": {"version": "1", "name": "b"}}, "d": {"metadata": {"version": "1"}}}
    found = compare_collections(
        {"a": "1", "b": "1", "d": "1"},
        {"b": "2", "c": "1", "d": "1"},
        lambda name: entries[name],
        lambda _: {"metadata": {"version": "2", "name": "x"}, "spec": {"hosts": []}},
    )
    assert found == [
        {"service": "a", "change": "removed"},
        {"service": "c", "change": "added"},
        {"service": "b", "change": "changed", "fields": ["metadata.name", "spec.hosts"]},
    ]
