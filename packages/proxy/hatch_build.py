"""Compiles the data path with mypyc into the wheel when asked to: ``HATCH_BUILD_HOOKS_ENABLE=1 pip wheel packages/proxy``.

The compiled modules are the same sources, which stay in the wheel beside them. Without the variable, or in an editable
installation, nothing is compiled and no compiler is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """See the module. ``modules`` and ``exclude`` of its table in pyproject.toml are patterns below ``src/isthmus_proxy``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add what came of it to the wheel."""
        if version == "editable":
            return
        source = Path(self.root, "src")
        modules = _modules(source, self.config)
        # pip builds a wheel twice, the first time for its metadata alone; and most builds follow one of the same sources.
        target = Path(self.root, "build", f"compiled-{_digest(source, modules)}")
        if not target.is_dir():
            scratch = target.with_suffix(f".{os.getpid()}")
            build(source, modules, scratch).rename(target)
            shutil.rmtree(scratch)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for path in target.rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(target))


def _modules(source: Path, config: dict[str, Any]) -> list[str]:
    package = source / "isthmus_proxy"
    excluded = {path for pattern in config["exclude"] for path in package.glob(pattern)}
    found = {path for pattern in config["modules"] for path in package.glob(pattern)} - excluded
    return sorted(str(path.relative_to(source)) for path in found)


def _digest(source: Path, modules: list[str]) -> str:
    """A short hash of what the outcome depends on: this file, the modules, the interpreter."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (Path(__file__), *(source / module for module in modules)):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def build(source: Path, modules: list[str], scratch: Path) -> Path:
    """Compile ``modules``, paths below ``source``, into a folder below ``scratch``, which is returned."""
    types = [
        "--config-file=",
        "--ignore-missing-imports",
        "--follow-imports=silent",
        f"--cache-dir={scratch / 'cache'}",
    ]
    with contextlib.chdir(source):
        extensions = mypycify(
            [*types, *modules],
            opt_level="2",
            debug_level="0",
            multi_file=True,
            target_dir=str(scratch / "c"),
            group_name="isthmus_proxy",
        )
        command = build_ext(Distribution({"name": "isthmus-proxy", "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(scratch / "lib"), str(scratch / "temp")
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        command.run()
    return scratch / "lib"
