"""Resources from a file: when it is read, and what becomes of what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from envoy.config.core.v3.config_source_pb2 import ConfigSource, PathConfigSource

from isthmus_proxy.config.source import compile_source
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.xds.apply import Sources
from isthmus_proxy.xds.file_stream import FileStream
from isthmus_proxy.xds.resources import CLUSTER
from isthmus_proxy.xds.source import ApiSource
from isthmus_proxy.xds.testing import Proxy


class Told:
    """An observer that counts."""

    def __init__(self) -> None:
        self.updates = 0

    def heard(self) -> None:
        """See Observer."""

    def updated(self) -> None:
        """See Observer."""
        self.updates += 1

    def lost(self, *, tried_all: bool) -> None:
        """See Observer."""


class World:
    """Clusters from one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        source = ApiSource((), path=str(path))
        self.proxy = Proxy(sources=Sources(clusters=True, listeners=False, aggregated=False, clusters_source=source))
        self.proxy.discovery.start(self.proxy.cds, self.proxy.lds, (), ())
        session = self.proxy.discovery.sessions.own[CLUSTER, source]
        self.told = Told()
        self.stream = FileStream(self.proxy.discovery, session, str(path), self.told, CLUSTER)
        self.proxy.discovery.connected(session)

    def put(self, text: str) -> None:
        """Move a file into place."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)
        self.stream.look()

    def clusters(self, **contents: str) -> None:
        """A file of static clusters."""
        kinds = [{"@type": CLUSTER, "name": name, "alt_stat_name": content} for name, content in contents.items()]
        self.put(json.dumps({"version_info": "7", "resources": kinds}))

    def count(self, name: str) -> int | None:
        """A stat of CDS."""
        return self.proxy.stats.value(f"cluster_manager.cds.{name}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "cds.json")


def test_a_file_is_taken_once_and_again_when_it_changes(world: World) -> None:
    world.stream.look()
    assert world.told.updates == 0, "it is not there yet"
    world.clusters(a="static", b="static")
    assert world.proxy.clusters.names() == ["a", "b"]
    world.stream.look()
    assert (world.told.updates, world.count("update_success")) == (1, 1)
    world.clusters(b="static")
    assert world.proxy.clusters.names() == ["b"]
    world.path.unlink()
    world.stream.look()
    assert (world.proxy.clusters.names(), world.told.updates) == (["b"], 2)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"resources": [{"@type": "other"}]}', '{"resources": 1}', '{"unknown": 1}', '{"resources": [7]}'],
)
def test_one_that_cannot_be_read_changes_nothing(world: World, text: str, caplog: pytest.LogCaptureFixture) -> None:
    world.clusters(a="static")
    world.put(text)
    assert world.proxy.clusters.names() == ["a"]
    assert (world.count("update_failure"), world.count("update_rejected")) == (1, 0)
    assert str(world.path) in caplog.text
    world.clusters(b="static")
    assert world.proxy.clusters.names() == ["b"]


def test_what_is_refused_is_named_and_the_rest_applies(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.clusters(a="static")
    world.clusters(a="bad", b="static")
    assert world.proxy.clusters.names() == ["a", "b"]
    assert world.count("update_rejected") == 1
    assert "a: alt_stat_name = bad: is refused" in caplog.text


def test_a_file_that_is_not_there_at_the_start_is_refused_by_path(tmp_path: Path) -> None:
    path = str(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"eds_config.path_config_source.path.*there is no such file"):
        compile_source(ConfigSource(path_config_source=PathConfigSource(path=path)), "eds_config")
    with pytest.raises(ConfigError, match=r"eds_config.path = "):
        compile_source(ConfigSource(path=path), "eds_config")
    Path(path).touch()
    assert compile_source(ConfigSource(path=path), "") == ApiSource((), path=path)
