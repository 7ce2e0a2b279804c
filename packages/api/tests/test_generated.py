"""The committed code is what the committed .proto files give. Needs no protoc."""

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
PROTO = PACKAGE / "proto"
SOURCE = PACKAGE / "src"
MANIFEST = json.loads((PROTO / "manifest.json").read_text(encoding="utf-8"))
SOURCES = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))


def hashes(root: Path, pattern: str) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob(pattern)
    }


def test_no_source_has_changed_since_the_code_was_generated() -> None:
    assert hashes(PROTO, "*.proto") == MANIFEST["sources"], "run `nox -s protos` and commit the result"


def test_no_generated_file_was_edited_added_or_lost() -> None:
    present = hashes(SOURCE, "*_pb2*.py") | hashes(SOURCE, "*_pb2*.pyi")
    assert present == MANIFEST["generated"], "run `nox -s protos` and commit the result"


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_has_a_module_with_types(source: str) -> None:
    stem = source.removesuffix(".proto")
    module = importlib.import_module(stem.replace("/", ".") + "_pb2")
    assert module.DESCRIPTOR.name == source
    assert f"{stem}_pb2.pyi" in MANIFEST["generated"]


def test_sources_stay_below_the_name_of_the_package() -> None:
    """Another distribution's copy of Istio's files must not meet ours under one file name in the descriptor pool."""
    ours = ("isthmus_api/dualmode/", "isthmus_api/gateway/", "isthmus_api/istio/", "isthmus_api/registration/")
    assert all(source.startswith(ours) for source in SOURCES)


def test_messages_load_without_grpc() -> None:
    modules = [source.removesuffix(".proto").replace("/", ".") + "_pb2" for source in SOURCES]
    code = f"import sys, {', '.join(modules)}\nassert 'grpc' not in sys.modules, 'grpc was imported'"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
