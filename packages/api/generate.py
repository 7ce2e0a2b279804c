"""Generate the Python code of isthmus-api from its .proto files.

``nox -s protos`` runs this with pinned tools; ``nox -s protos -- --check`` writes nothing and exits 1 when the committed
code differs from what the .proto files give. A manifest next to the .proto files records the hash of every file read and
written, so that the tests notice stale code without any of the tools.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

PACKAGE = Path(__file__).parent
PROTO = PACKAGE / "proto"
SOURCE = PACKAGE / "src"
MANIFEST = PROTO / "manifest.json"
TOOLS = ("grpcio-tools", "googleapis-common-protos", "mypy-protobuf")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def compile_protos(sources: list[str], out: Path) -> None:
    """Write messages, services and the type stubs of both below ``out``.

    ``sources`` are relative to the proto root. Exits with protoc's own message when a source is wrong.
    """
    descriptors = out / "descriptors.bin"
    messages = [f"--python_out={out}", f"--descriptor_set_out={descriptors}", *stub_plugin("mypy", out)]
    run_protoc([*messages, *sources])
    found = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    # The gRPC plugins write a module without content for every file that declares no service.
    run_protoc([f"--grpc_python_out={out}", *stub_plugin("mypy_grpc", out), *(f.name for f in found.file if f.service)])


def stub_plugin(name: str, out: Path) -> list[str]:
    """protoc's arguments for a plugin of mypy-protobuf, found beside the running interpreter."""
    program = shutil.which(f"protoc-gen-{name}", path=str(Path(sys.executable).parent))
    if program is None:
        sys.exit(f"protoc-gen-{name} is not installed beside {sys.executable}: run `nox -s protos`")
    return [f"--plugin=protoc-gen-{name}={program}", f"--{name}_out=quiet:{out}"]


def run_protoc(arguments: list[str]) -> None:
    """Run the protoc inside grpcio-tools; exit as it does when it fails."""
    includes = [PROTO, resources.files("grpc_tools") / "_proto", googleapis()]
    status = protoc.main(["protoc", *(f"-I{root}" for root in includes), *arguments])
    if status:
        sys.exit(status)


def googleapis() -> Path:
    """Root of the google/rpc sources, which the publisher of google.rpc.Status ships as data."""
    location = metadata.distribution("googleapis-common-protos").locate_file("google/rpc/status.proto")
    return Path(str(location)).parents[2]


def generated_files(root: Path) -> Iterator[Path]:
    """All generated files below ``root``, sorted within each kind."""
    for pattern in GENERATED:
        yield from sorted(root.rglob(pattern))


def hashes(root: Path, files: list[Path]) -> dict[str, str]:
    """SHA-256 by path relative to ``root``."""
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def generate(out: Path) -> str:
    """Write all generated files below ``out`` and return the text of the manifest."""
    sources = sorted(PROTO.rglob("*.proto"))
    compile_protos([path.relative_to(PROTO).as_posix() for path in sources], out)
    manifest = {
        "tools": {tool: metadata.version(tool) for tool in TOOLS},
        "sources": hashes(PROTO, sources),
        "generated": hashes(out, list(generated_files(out))),
    }
    return json.dumps(manifest, indent=2) + "\n"


def differences(fresh: Path, manifest: str) -> list[str]:
    """Paths of committed files that are missing, left over or different."""
    wanted = hashes(fresh, list(generated_files(fresh)))
    present = hashes(SOURCE, list(generated_files(SOURCE)))
    stale = [path for path in sorted(wanted.keys() | present.keys()) if wanted.get(path) != present.get(path)]
    if not MANIFEST.exists() or MANIFEST.read_text(encoding="utf-8") != manifest:
        stale.append(MANIFEST.relative_to(PACKAGE).as_posix())
    return stale


def install(fresh: Path, manifest: str) -> None:
    """Replace the committed generated code."""
    for old in list(generated_files(SOURCE)):
        old.unlink()
    for path in generated_files(fresh):
        target = SOURCE / path.relative_to(fresh)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    MANIFEST.write_text(manifest, encoding="utf-8")


def main() -> int:
    """Generate, or with ``--check`` compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the committed code is stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        manifest = generate(fresh)
        stale = differences(fresh, manifest)
        if not check:
            install(fresh, manifest)
    for path in stale:
        sys.stdout.write(f"{'stale' if check else 'updated'}: {path}\n")
    if check and stale:
        sys.stderr.write("Run `nox -s protos` and commit the result.\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
