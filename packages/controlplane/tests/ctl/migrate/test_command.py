"""The command against a whole control plane: what is written, what ``status`` shows, and refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse

from isthmus_controlplane.ctl.__main__ import main
from isthmus_controlplane.ctl.client import ApiError, Client
from isthmus_controlplane.ctl.migrate.policy import new_policy
from isthmus_controlplane.ctl.migrate.record import ANNOTATION
from isthmus_controlplane.ctl.migrate.remote import RemoteMesh, is_conflict, is_outage
from isthmus_controlplane.telemetry.services import LRS
from isthmus_controlplane.testing import running

HOST = "web.shop"
UP = ("--to", "mesh", "--step", "50%", "--interval", "100ms")
Ctl = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest_asyncio.fixture
async def addresses(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    async with running("memory:", tmp_path) as addresses:
        yield addresses


@pytest.fixture
def ctl(addresses: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Ctl:
    async def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, ["--server", f"http://{addresses['admin']}", *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


@pytest.mark.asyncio
async def test_shares_and_records_are_kept_in_the_object(ctl: Ctl, addresses: dict[str, str]) -> None:
    channel: Any = grpc.aio.insecure_channel(addresses["grpc"])
    reports = channel.stream_stream(
        f"/{LRS}/StreamLoadStats",
        request_serializer=LoadStatsRequest.SerializeToString,
        response_deserializer=LoadStatsResponse.FromString,
    )()
    await reports.write(LoadStatsRequest(node=Node(id="n")))
    await reports.read()
    code, out, _ = await ctl("migrate", HOST, *UP, "--allow-no-data", "--json")
    assert code == 0
    said = [json.loads(line) for line in out.splitlines()]
    assert [each["percent"] for each in said if each["event"] == "held"] == [50, 100]
    assert not said[-2]["told_apart"], "no bridge was named"
    (document,) = json.loads((await ctl("get", "DualMode", "-o", "json"))[1])
    assert document["metadata"]["name"] == "web-shop-migration"
    assert document["spec"]["sdk"]["rules"][0] == {"name": "migration", "percent": 100, "prefer": ["mesh", "native"]}
    code, out, _ = await ctl("migrate", "status", HOST)
    assert code == 0
    assert "web.shop  default/web-shop-migration  mesh  completed  100 %" in out
    code, out, _ = await ctl("migrate", "status", "--json")
    assert json.loads(out)[0]["alive"] is False
    assert (await ctl("migrate", "status", "other.shop"))[:2] == (1, "There are no migrations.\n")
    broken = new_policy("other.shop", "default", 0.0)
    broken["metadata"]["annotations"] = {ANNOTATION: "nonsense"}
    await asyncio.to_thread(RemoteMesh(HOST, Client(f"http://{addresses['admin']}")).write, broken)
    code, out, err = await ctl("migrate", "status")
    assert (code, "default/web-shop-migration" in out, "other-shop-migration: metadata.annotations" in err) == (
        0,
        True,
        True,
    )
    await ctl("delete", "DualMode", "other-shop-migration")
    code, out, _ = await ctl("migrate", HOST, "--undo")
    assert code == 0
    assert "gone back within" in out
    (document,) = json.loads((await ctl("get", "DualMode", "-o", "json"))[1])
    assert document["spec"]["sdk"]["rules"][0].get("percent", 0) == 0
    await channel.close(None)


@pytest.mark.asyncio
async def test_nothing_is_begun_that_nobody_reports_on(ctl: Ctl) -> None:
    code, out, err = await ctl("migrate", HOST, *UP)
    assert (code, out) == (1, "")
    assert "no proxy reports loads to this control plane" in err
    assert json.loads((await ctl("get", "DualMode", "-o", "json"))[1]) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((HOST,), 2, "--to: say mesh or sdk"),
        ((HOST, "other", "--to", "mesh"), 2, "other: only `migrate status` takes a second name"),
        ((HOST, "--to", "mesh", "--abort-on", "p99>1s"), 2, "p99 cannot be measured"),
        ((HOST, "--to", "mesh", "--bridge", "nonsense"), 2, "--bridge nonsense: is not of the form http://HOST:PORT"),
        ((HOST, "--resume"), 1, "web.shop has no migration to take up"),
    ],
)
async def test_wrong_command_lines(ctl: Ctl, arguments: tuple[str, ...], code: int, message: str) -> None:
    found, _, err = await ctl("migrate", *arguments)
    assert (found, message in err) == (code, True), err


def test_a_control_plane_that_is_away_is_waited_for_and_then_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--server", "http://127.0.0.1:1", "migrate", HOST, "--to", "mesh", "--patience", "100ms"])
    out, err = capsys.readouterr()
    assert ended.value.code == 4
    assert "trying again for 0.1 s" in out
    assert "cannot reach the control plane at http://127.0.0.1:1" in err
    for server in ("http://127.0.0.1:1", "nonsense"):
        with pytest.raises(SystemExit) as ended:
            main(["--server", server, "migrate", "status"])
        assert ended.value.code == 4, "3 would say that a migration has gone back"


@pytest.mark.asyncio
async def test_who_writes_what_was_changed_meanwhile_is_told_so(addresses: dict[str, str]) -> None:
    mesh = RemoteMesh(HOST, Client(f"http://{addresses['admin']}"))

    def race() -> ApiError:
        mesh.write(new_policy(HOST, "default", 0.0))
        (seen,) = mesh.policies()
        seen["spec"]["overlap"] = "1s"
        mesh.write(seen)
        seen["spec"]["overlap"] = "2s"
        with pytest.raises(ApiError) as refused:
            mesh.write(seen)
        return refused.value

    error = await asyncio.to_thread(race)
    assert is_conflict(error)
    assert not is_outage(error)
