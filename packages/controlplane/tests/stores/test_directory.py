"""The directory store against a real directory and real watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from isthmus_controlplane.errors import ConfigError, StoreError
from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.model.testing import rule, service
from isthmus_controlplane.stores.base import ConfigObject, ConflictError, ObjectKey, StoreState
from isthmus_controlplane.stores.directory import DirectoryStore
from isthmus_controlplane.xds.testing import eventually

pytestmark = pytest.mark.asyncio


class Followed:
    """A running store and the states it published."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = DirectoryStore(f"dir:{root}")
        self.states: list[StoreState] = []

    @property
    def state(self) -> StoreState:
        return self.states[-1]

    def names(self) -> list[str]:
        return sorted(key.name for key in self.state.objects)

    def version(self, name: str) -> str:
        return self.state.objects[ObjectKey("ServiceEntry", "default", name)].version


@pytest_asyncio.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    result = Followed(tmp_path)
    task = asyncio.create_task(result.store.run(result.states.append))
    await eventually(lambda: bool(result.states))
    yield result
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def entry(name: str, port: int = 80) -> ConfigObject:
    return service(f"{name}.shop", name=name, port=port)


def dump(*objects: ConfigObject) -> str:
    return yaml.safe_dump_all([to_document(obj) for obj in objects])


async def test_an_empty_directory_is_synced(followed: Followed) -> None:
    assert followed.state.synced
    assert followed.state.objects == {}


async def test_files_come_change_and_go(followed: Followed) -> None:
    path = followed.root / "a.yaml"
    path.write_text(dump(entry("x"), entry("y")))
    await eventually(lambda: followed.names() == ["x", "y"])
    before = followed.version("x")
    path.write_text(dump(entry("x", port=81)))
    await eventually(lambda: followed.names() == ["x"] and followed.version("x") != before)
    path.unlink()
    await eventually(lambda: followed.names() == [])


async def test_files_below_and_renamed_files_are_seen_and_hidden_ones_not(followed: Followed) -> None:
    below = followed.root / "team" / "shop"
    below.mkdir(parents=True)
    (below / "a.yml").write_text(dump(entry("x")))
    (followed.root / ".hidden.yaml").write_text(dump(entry("hidden")))
    (followed.root / "notes.txt").write_text("no configuration")
    await eventually(lambda: followed.names() == ["x"])
    (below / "b.new").write_text(dump(entry("y")))
    (below / "b.new").rename(below / "b.yaml")
    await eventually(lambda: followed.names() == ["x", "y"])
    assert followed.state.problems == ()


async def test_a_bad_file_changes_nothing_that_works(followed: Followed) -> None:
    path = followed.root / "a.yaml"
    path.write_text(dump(entry("x")))
    (followed.root / "b.yaml").write_text(dump(entry("y")))
    await eventually(lambda: followed.names() == ["x", "y"])
    path.write_text("kind: [broken")
    await eventually(lambda: bool(followed.state.problems))
    assert followed.names() == ["x", "y"]
    (problem,) = followed.state.problems
    assert problem.origin == str(path)
    path.write_text(dump(entry("x", port=81)))
    await eventually(lambda: not followed.state.problems)


async def test_a_directory_that_disappears_keeps_everything(
    followed: Followed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (followed.root / "a.yaml").write_text(dump(entry("x")))
    await eventually(lambda: followed.names() == ["x"])
    away = tmp_path_factory.mktemp("away") / "conf"
    followed.root.rename(away)
    await eventually(lambda: bool(followed.state.problems))
    assert followed.names() == ["x"]
    away.rename(followed.root)
    (followed.root / "b.yaml").write_text(dump(entry("y")))
    await eventually(lambda: not followed.state.problems and followed.names() == ["x", "y"])


async def test_apply_writes_new_objects_into_files_of_their_own(followed: Followed) -> None:
    await followed.store.apply([entry("x"), rule("x.shop", "v1", name="x")], {})
    assert followed.names() == ["x", "x"]
    files = {path.name: path.stat().st_mode & 0o777 for path in followed.root.iterdir()}
    assert files == {"serviceentry-default-x.yaml": 0o600, "destinationrule-default-x.yaml": 0o600}


async def test_apply_changes_objects_where_they_stand(followed: Followed) -> None:
    path = followed.root / "a.yaml"
    path.write_text(f"# mine\n{dump(entry('x'))}---\n# and this\n{dump(entry('y'))}")
    path.chmod(0o640)
    await eventually(lambda: followed.names() == ["x", "y"])
    await followed.store.apply([entry("y", port=81), entry("x", port=82)], {})
    assert followed.version("y") == entry("y", port=81).version
    text = path.read_text()
    assert text.startswith("# mine\n")
    assert "# and this\n" in text
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in followed.root.iterdir()] == ["a.yaml"]


async def test_apply_sees_what_was_just_written_by_hand(followed: Followed) -> None:
    (followed.root / "a.yaml").write_text(dump(entry("x")))
    await followed.store.apply([entry("x", port=81)], {})
    assert [each.name for each in followed.root.iterdir()] == ["a.yaml"]
    assert followed.version("x") == entry("x", port=81).version


async def test_apply_checks_the_versions_that_the_caller_has_seen(followed: Followed) -> None:
    old, key = entry("x"), entry("x").key
    await followed.store.apply([old], {key: None})
    with pytest.raises(ConflictError, match=f"at version {old.version}, not seen"):
        await followed.store.apply([entry("x", port=81)], {key: "seen"})
    assert followed.version("x") == old.version
    await followed.store.apply([entry("x", port=81)], {key: old.version})


async def test_apply_does_not_edit_a_bad_file(followed: Followed) -> None:
    path = followed.root / "a.yaml"
    path.write_text(dump(entry("x")))
    await eventually(lambda: followed.names() == ["x"])
    path.write_text("kind: [broken")
    with pytest.raises(StoreError, match="mend this file first"):
        await followed.store.apply([entry("x", port=81)], {})
    assert path.read_text() == "kind: [broken"


async def test_nothing_is_written_when_one_file_cannot_be(followed: Followed) -> None:
    (followed.root / "destinationrule-default-x.yaml").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        await followed.store.apply([rule("x.shop", name="x")], {})
    assert [each.name for each in followed.root.iterdir()] == ["destinationrule-default-x.yaml"]


async def test_delete_removes_the_document_and_then_the_file(followed: Followed) -> None:
    path = followed.root / "a.yaml"
    path.write_text(dump(entry("x"), entry("y")))
    await eventually(lambda: followed.names() == ["x", "y"])
    await followed.store.delete(entry("x").key)
    assert followed.names() == ["y"]
    await followed.store.delete(entry("y").key)
    assert followed.names() == []
    assert not path.exists()
    with pytest.raises(KeyError):
        await followed.store.delete(entry("y").key)


async def test_a_missing_directory_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a directory"):
        DirectoryStore(f"dir:{tmp_path}/none")
