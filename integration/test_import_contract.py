"""What may import what: pure cores do no I/O, packages share nothing but isthmus-api, the proxy stays light.

Imports are read from the source text and followed through each package's own modules, so a pure module may not reach
a socket through a neighbour either. Imports made only for type checkers do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    "isthmus_api": ROOT / "packages/api/src",
    "isthmus_proxy": ROOT / "packages/proxy/src",
    "isthmus_controlplane": ROOT / "packages/controlplane/src",
    "isthmus_mcp_bridge": ROOT / "packages/mcp-bridge/src",
}
IO = {
    "aiohttp", "asyncio", "concurrent", "grpc", "h2", "kazoo", "multiprocessing", "os", "pathlib", "select", "signal",
    "socket", "ssl", "subprocess", "threading", "trio", "urllib.request", "watchfiles",
}  # fmt: skip
CLOCKS = {"time", "datetime"}
# module prefix -> modules below it that are I/O edges (named, so that a new edge is a decision)
PURE = {
    "isthmus_proxy.codec": set(),
    "isthmus_proxy.route": set(),
    "isthmus_proxy.cluster": {
        "isthmus_proxy.cluster.dns",
        "isthmus_proxy.cluster.monitoring",
        # Active health checks go to endpoints; what they mean is decided in host_check and verdict, which are pure.
        *(
            f"isthmus_proxy.cluster.health.{name}"
            for name in (
                "health_checking",
                "http1_probe",
                "http2_probe",
                "probe_connection",
                "probes",
                "session",
                "tcp_probe",
            )
        ),
    },
    "isthmus_proxy.ratelimit": set(),
    "isthmus_proxy.rbac": set(),
    "isthmus_proxy.jwt": {"isthmus_proxy.jwt.key_source"},
    "isthmus_proxy.xds.servers": set(),
    "isthmus_proxy.xds.session": set(),
    "isthmus_proxy.xds.sessions": set(),
    "isthmus_proxy.registry_api.dubbo": set(),
    "isthmus_proxy.registry_api.registry": set(),
    "isthmus_proxy.registry_api.sofa": set(),
    "isthmus_proxy.rpc.heartbeat": set(),
    "isthmus_proxy.listener.client_hello": set(),
    "isthmus_proxy.listener.http_detection": set(),
    "isthmus_proxy.listener.prefix_table": set(),
    "isthmus_proxy.listener.proxy_protocol": set(),
    "isthmus_proxy.listener.rpc_detection": set(),
    "isthmus_controlplane.model": set(),
    "isthmus_controlplane.translate": set(),
    "isthmus_controlplane.snapshot": set(),
    "isthmus_controlplane.stores.etcd.mirror": set(),
    "isthmus_controlplane.xds.subscription": set(),
    "isthmus_mcp_bridge.catalog": set(),
    "isthmus_mcp_bridge.convert": set(),
}  # type: dict[str, set[str]]
HEAVY_FOR_THE_PROXY = {"grpc", "asyncio", "aiohttp", "requests", "httpx", "anyio", "kazoo", "watchfiles", "pydantic"}


def _module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _all_modules() -> dict[str, Path]:
    return {
        _module_name(path, source): path
        for package, source in SOURCES.items()
        for path in (source / package).rglob("*.py")
        if "_pb2" not in path.name
    }


def _is_type_checking(node: ast.If) -> bool:
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child):
            continue
        yield child
        yield from _runtime_nodes(child)


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function; ``from a import b`` gives ``a`` and ``a.b``."""
    found: set[str] = set()
    for node in _runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


MODULES = _all_modules()
IMPORTS = {name: _imports(path) for name, path in MODULES.items()}


def _below(module: str, prefixes: set[str]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def _reached(module: str) -> dict[str, str]:
    """Modules that importing ``module`` loads, each with the module of ours that names it."""
    reached: dict[str, str] = {}
    waiting = [module]
    seen = {module}
    while waiting:
        current = waiting.pop()
        for imported in IMPORTS[current]:
            reached.setdefault(imported, current)
            if imported in IMPORTS and imported not in seen:
                seen.add(imported)
                waiting.append(imported)
    return reached


def _pure_modules() -> list[str]:
    return sorted(
        module
        for prefix, edges in PURE.items()
        for module in MODULES
        if _below(module, {prefix}) and not _below(module, edges)
    )


@pytest.mark.parametrize("prefix", PURE)
def test_every_pure_core_exists(prefix: str) -> None:
    assert any(_below(module, {prefix}) for module in MODULES), f"{prefix} is gone: mend the table of pure cores"


@pytest.mark.parametrize("module", _pure_modules())
def test_pure_cores_reach_no_io_and_no_clock(module: str) -> None:
    bad = {name: by for name, by in _reached(module).items() if _below(name, IO | CLOCKS)}
    assert not bad, f"{module} is a pure core, but loads {bad}"


@pytest.mark.parametrize("package", SOURCES)
def test_packages_share_only_the_api(package: str) -> None:
    others = set(SOURCES) - {package, "isthmus_api"}
    bad = {
        module: sorted(name for name in imported if _below(name, others))
        for module, imported in IMPORTS.items()
        if _below(module, {package})
    }
    assert not {module: names for module, names in bad.items() if names}


def test_the_proxy_imports_nothing_heavy() -> None:
    bad = {
        module: sorted(name for name in imported if _below(name, HEAVY_FOR_THE_PROXY) or name.endswith("_pb2_grpc"))
        for module, imported in IMPORTS.items()
        if _below(module, {"isthmus_proxy"})
    }
    assert not {module: names for module, names in bad.items() if names}
