"""Directories that are followed while they change."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.supplement.source import SupplementSource
from isthmus_controlplane.supplement.supplement import Supplement
from isthmus_controlplane.supplement.testing import LAYER, make_certificate
from isthmus_controlplane.xds.testing import eventually

pytestmark = pytest.mark.asyncio


async def test_changes_of_both_directories_are_told(tmp_path: Path) -> None:
    resources, secrets = tmp_path / "resources", tmp_path / "secrets"
    resources.mkdir()
    secrets.mkdir()
    source = SupplementSource(str(resources), str(secrets))
    first = source.read()
    assert (first.resources, dict(first.secrets)) == ((), {})
    assert source.read() is first
    assert source.read(forced=False) is first
    told: list[Supplement] = []
    following = asyncio.create_task(source.run(told.append))
    (resources / "flags.yaml").write_text(LAYER)
    await eventually(lambda: bool(told and told[-1].resources))
    certificate, key = make_certificate(tmp_path / "made", "web")
    shutil.copyfile(key, secrets / "web.key")
    shutil.copyfile(certificate, secrets / "web.crt")
    await eventually(lambda: list(told[-1].secrets) == ["web"] and not told[-1].problems)
    (resources / "flags.yaml").write_text("resources: 7")
    await eventually(lambda: bool(told[-1].problems))
    assert told[-1].resources[0].name == "flags"
    shutil.rmtree(resources)
    await eventually(lambda: "bring it back" in told[-1].problems[0].message)
    assert told[-1].resources[0].name == "flags"
    following.cancel()


async def test_a_directory_has_to_be_there_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--secrets .*absent: is not a directory"):
        SupplementSource("", str(tmp_path / "absent"))
    assert not SupplementSource("", "").used
