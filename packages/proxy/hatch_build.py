"""Compiles the data path with mypyc into the wheel where there is a C compiler; the wheel is plain Python where there is none.

The compiled modules are the same sources, which stay in the wheel beside them. ``ISTHMUS_COMPILE`` in the environment decides:
``auto`` (the default), ``require`` (no wheel without them), ``never``. An editable installation is never compiled.
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

CHOICE = "ISTHMUS_COMPILE"
CHOICES = ("auto", "require", "never")


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """See the module. ``modules`` and ``exclude`` of its table in pyproject.toml are patterns below ``src/isthmus_proxy``."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What compiling needs; nothing where nothing is to be compiled."""
        return [] if _choice() == "never" else list(self.config["compiler"])

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add what came of it to the wheel."""
        choice = _choice()
        if version == "editable" or choice == "never":
            return
        source = Path(self.root, "src")
        try:
            target = self._compiled(source)
        except (Exception, SystemExit) as error:  # a compiler that is not there, and all that it may find amiss
            if choice == "require":
                raise
            self.app.display_warning(f"isthmus-proxy is not compiled, its wheel is plain Python: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for path in target.rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(target))

    def _compiled(self, source: Path) -> Path:
        """The folder of the compiled modules. pip builds a wheel twice, and most builds follow one of the same sources."""
        modules = _modules(source, self.config)
        target = Path(self.root, "build", f"compiled-{_digest(source, modules)}")
        if not target.is_dir():
            scratch = target.with_suffix(f".{os.getpid()}")
            build(source, modules, scratch).rename(target)
            shutil.rmtree(scratch)
        return target


def _choice() -> str:
    choice = os.environ.get(CHOICE) or "auto"
    if choice not in CHOICES:
        raise ValueError(f"{CHOICE}={choice}: must be one of {', '.join(CHOICES)}")
    return choice


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
    from mypyc.build import mypycify  # noqa: PLC0415 - not there where nothing is compiled
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

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
