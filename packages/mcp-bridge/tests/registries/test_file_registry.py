from __future__ import annotations

from pathlib import Path

import pytest

from isthmus_mcp_bridge.events import SourceState
from isthmus_mcp_bridge.registries.file.registry import FileRegistry
from isthmus_mcp_bridge.testing.follower import Follower, follow

pytestmark = pytest.mark.asyncio
GOOD = "services: [{host: reviews, ports: [{number: 80, protocol: HTTP}], instances: [{address: 10.0.0.1, port: 1}]}]"


def registry(directory: Path) -> FileRegistry:
    return FileRegistry("files", directory, "default", lambda: 0.5)


async def live(follower: Follower) -> None:
    await follower.until(lambda one: one.state is SourceState.LIVE)


async def test_the_last_good_state_of_a_file_stays_while_it_is_bad(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    async with follow(registry(tmp_path)) as follower:
        await live(follower)
        file.write_text("services: [{host: reviews, ports: [{number: 80, protocol: SMTP}]}]")
        await follower.until(lambda one: one.problems)
        (problem,) = follower.problems
        assert problem.path == f"{file}: services[0].ports[0].protocol"
        assert problem.value == "'SMTP'"
        assert follower.published == {"reviews": ["10.0.0.1:1"]}
        file.write_text(GOOD.replace("port: 1", "port: 2"))
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:2"]} and not one.problems)


async def test_a_file_that_was_never_good_keeps_the_source_incomplete(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("[")
    (tmp_path / "good.yml").write_text(GOOD)
    async with follow(registry(tmp_path)) as follower:
        await live(follower)
        assert follower.published == {"reviews": ["10.0.0.1:1"]}
        assert not follower.catalog.sources["files"].complete
        (tmp_path / "bad.yaml").unlink()
        await follower.until(lambda one: one.catalog.sources["files"].complete)


async def test_other_files_are_no_concern(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("[")
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "deep.yaml").write_text("[")
    async with follow(registry(tmp_path)) as follower:
        await live(follower)
        assert follower.problems == []


async def test_a_directory_that_has_a_yaml_name_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").mkdir()
    async with follow(registry(tmp_path)) as follower:
        await live(follower)
        assert [one.path for one in follower.problems] == [str(tmp_path / "odd.yaml")]


async def test_instances_of_one_service_in_two_files_are_united(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("port: 1", "port: 2"))
    async with follow(registry(tmp_path)) as follower:
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:1", "10.0.0.1:2"]})


async def test_more_files_than_the_bound_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    async with follow(FileRegistry("files", tmp_path, "default", lambda: 0.999, max_files=1)) as follower:
        await live(follower)
        (tmp_path / "b.yaml").write_text(GOOD.replace("port: 1", "port: 2"))
        await follower.until(lambda one: "more than 1 files" in one.catalog.sources["files"].reason)
        assert follower.published == {"reviews": ["10.0.0.1:1"]}
        (tmp_path / "a.yaml").unlink()
        await follower.until(lambda one: one.published == {"reviews": ["10.0.0.1:2"]})
