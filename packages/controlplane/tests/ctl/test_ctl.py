"""isthmusctl against a whole control plane, and its tables alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from isthmus_controlplane.ctl.__main__ import main
from isthmus_controlplane.ctl.explanation import explanation_text, is_acknowledged
from isthmus_controlplane.ctl.status import is_healthy, status_text
from isthmus_controlplane.ctl.table import table
from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.model.testing import rule, service, split
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.testing import eventually_answers, running

HOST = "reviews.shop"
Ctl = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest_asyncio.fixture
async def ctl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Ctl]:
    conf = tmp_path / "conf"
    conf.mkdir()
    async with running(f"dir:{conf}", tmp_path) as addresses:

        async def run(*arguments: str) -> tuple[int, str, str]:
            with pytest.raises(SystemExit) as ended:
                await asyncio.to_thread(main, ["--server", f"http://{addresses['admin']}", *arguments])
            out, err = capsys.readouterr()
            assert isinstance(ended.value.code, int)
            return ended.value.code, out, err

        yield run


def write(path: Path, *objects: ConfigObject) -> str:
    path.write_text(yaml.safe_dump_all([to_document(obj) for obj in objects]))
    return str(path)


@pytest.mark.asyncio
async def test_apply_get_change_and_delete(ctl: Ctl, tmp_path: Path) -> None:
    good = write(tmp_path / "good.yaml", service(HOST, "v1"), rule(HOST, "v1"), split(HOST, {"v1": 1}))
    code, out, err = await ctl("apply", "-f", good)
    assert (code, err) == (0, "")
    assert "VirtualService default/reviews-shop created (" in out
    code, out, _ = await ctl("get", "virtualservice", "reviews-shop", "-o", "yaml")
    changed = yaml.safe_load(out)
    changed["spec"]["http"][0]["timeout"] = "3s"
    edited = tmp_path / "edited.yaml"
    edited.write_text(yaml.safe_dump(changed))
    assert "configured" in (await ctl("apply", "-f", str(edited)))[1]
    code, _, err = await ctl("apply", "-f", str(edited))
    assert code == 1
    assert "read it again and repeat the change" in err
    code, out, _ = await ctl("get", "-o", "json")
    assert len(json.loads(out)) == 3
    code, out, _ = await ctl("delete", "VirtualService", "reviews-shop")
    assert (code, out) == (0, "VirtualService default/reviews-shop deleted\n")
    code, _, err = await ctl("get", "VirtualService", "reviews-shop")
    assert (code, err) == (1, "isthmusctl: there is no VirtualService reviews-shop\n")


@pytest.mark.asyncio
async def test_a_directory_is_applied_as_one_and_problems_name_the_file(ctl: Ctl, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    write(more / "a.yaml", split(HOST, {"v1": 1}))
    write(more / "b.yaml", service(HOST, "v1"))
    code, _, err = await ctl("apply", "-f", str(more))
    assert code == 1
    assert f"{more}/a.yaml#1 (VirtualService default/reviews-shop): spec.http[0].route[0].destination.subset" in err
    write(more / "c.yaml", rule(HOST, "v1"))
    assert (await ctl("apply", "-f", str(more)))[0] == 0


@pytest.mark.asyncio
async def test_wait_ends_when_everything_is_acknowledged(ctl: Ctl, tmp_path: Path) -> None:
    await ctl("apply", "-f", write(tmp_path / "a.yaml", service(HOST, "v1")))
    assert await ctl("wait", "--applied", "--timeout", "20") == (0, "", "")


@pytest.mark.asyncio
async def test_analyze_and_diff_change_nothing(ctl: Ctl, tmp_path: Path) -> None:
    good = write(tmp_path / "good.yaml", service(HOST, "v1"), rule(HOST, "v1"))
    assert await ctl("analyze", "-f", good) == (0, "", "")
    code, out, _ = await ctl("diff", "-f", good)
    assert code == 1
    assert "+kind: ServiceEntry" in out
    assert json.loads((await ctl("get", "-o", "json"))[1]) == []
    await ctl("apply", "-f", good)
    assert await ctl("diff", "-f", good) == (0, "", "")
    code, out, _ = await ctl("diff", "-f", write(tmp_path / "other.yaml", rule(HOST, "v1", "v2")))
    assert code == 1
    assert "+  - labels:" in out or "+    name: v2" in out
    code, out, _ = await ctl("analyze", "-f", write(tmp_path / "bad.yaml", split(HOST, {"v9": 1})))
    assert code == 1
    assert "spec.http[0].route[0].destination.subset" in out


@pytest.mark.asyncio
async def test_warnings_go_to_standard_error(ctl: Ctl, tmp_path: Path) -> None:
    await ctl("apply", "-f", write(tmp_path / "a.yaml", service(HOST, "v1"), rule(HOST, "v1"), split(HOST, {"v1": 1})))
    code, out, _ = await ctl("status", "-o", "json")
    assert (code, json.loads(out)["ready"]) == (0, True)
    code, out, _ = await ctl("status")
    assert "No client is connected." in out


@pytest.mark.asyncio
async def test_a_bad_file_in_the_store_is_in_the_status(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "conf" / "broken.yaml").write_text("kind: Ingress\n")

    async def unhealthy() -> bool:
        return (await ctl("status", "--check"))[0] == 1

    await eventually_answers(unhealthy)
    _, out, _ = await ctl("status")
    assert "broken.yaml#1: kind: 'Ingress' is not supported" in out


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("apply", "-f", "/nonexistent.yaml"), "cannot be read"),
        (("apply", "-f", "EMPTY"), "there is no YAML file in this directory"),
    ],
)
async def test_bad_files(ctl: Ctl, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = await ctl(*(each.replace("EMPTY", str(tmp_path / "empty")) for each in arguments))
    assert code == 2
    assert message in err


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "127.0.0.1:15014", "http://[bad"])
def test_an_unreachable_control_plane(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--server", server, "status"])
    assert ended.value.code == 3
    assert server in capsys.readouterr().err


def test_table() -> None:
    assert table(("A", "LONG"), [("wide cell", "x"), ("y", "")]) == "A          LONG\nwide cell  x\ny\n"


def kind(state: str, **more: Any) -> dict[str, Any]:
    base = {"type": "RDS", "version_sent": "aa", "version_acked": "bb", "state": state, "resources": 3, "nack": None}
    return base | more


def test_status_shows_every_client_and_why_it_rejected() -> None:
    cause = {"object": "VirtualService default/x", "path": "spec.http"}
    nack = {"version": "aa", "message": "bad domain", "resources": ["80"], "causes": [cause]}
    clients = [
        {"node_id": "sidecar~web", "peer": "p", "types": [kind("NACK", nack=nack), kind("STALE", type="EDS")]},
        {"node_id": "", "peer": "ipv4:127.0.0.1:1", "types": []},
    ]
    problems = [{"origin": "a.yaml#1", "path": "spec.hosts", "message": "is empty"}]
    stores = [{"source": "xds://h:1", "synced": False, "objects": 0, "problems": 1}]
    condition = {"object": cause["object"], "type": "Accepted", "status": "False", "reason": "RejectedByClients"}
    conditions = [{**condition, "paths": ["spec.http"]}, {**condition, "object": "ServiceEntry default/y", "paths": []}]
    status = {"version": "1", "ready": True, "stores": stores, "clients": clients, "problems": problems}
    status |= {"conditions": conditions}
    assert status_text(status) == (
        "isthmus-controlplane 1, ready\n\n"
        "STORE      STATE    OBJECTS  PROBLEMS\nxds://h:1  WAITING  0        1\n\n"
        "CLIENT            TYPE  SENT  ACKNOWLEDGED  STATE      RESOURCES\n"
        "sidecar~web       RDS   aa    bb            NACK       3\n"
        "sidecar~web       EDS   aa    bb            STALE      3\n"
        "ipv4:127.0.0.1:1  -     -     -             CONNECTED  0\n\n"
        "Rejected by clients:\n  sidecar~web RDS aa: bad domain\n    made from VirtualService default/x spec.http\n\n"
        "OBJECT                    CONDITION       REASON             FIELD\n"
        "VirtualService default/x  Accepted=False  RejectedByClients  spec.http\n"
        "ServiceEntry default/y    Accepted=False  RejectedByClients  -\n\n"
        "Problems:\n  a.yaml#1: spec.hosts: is empty\n"
    )
    assert not is_healthy(status)
    assert is_healthy(status | {"clients": [], "problems": []})


def explained(**more: Any) -> dict[str, Any]:
    resource = {"name": "x", "state": "acknowledged", "objects": ["ServiceEntry a/b"]}
    way = {
        "listeners": [resource],
        "route_configuration": resource,
        "virtual_host": {"name": "h", "domains": ["a", "b"]},
    }
    return {"client": "me", "ways": [{**way, "routes": [], **more}]}


def test_an_explanation_says_what_is_missing() -> None:
    assert explanation_text({"client": "me", "ways": []}) == "me has no route configuration for this host.\n"
    assert not is_acknowledged({"client": "me", "ways": []})
    assert explanation_text(explained()).splitlines() == [
        "listener             x [acknowledged]  <- ServiceEntry a/b",
        "route configuration  x [acknowledged]  <- ServiceEntry a/b",
        "virtual host         h (a, b)",
        "route                none takes this request: 404",
    ]
    assert is_acknowledged(explained())


def test_an_explanation_follows_every_route() -> None:
    base = {"name": "", "conditions": [], "object": "", "path": ""}
    cluster = {"name": "c", "state": "acknowledged", "objects": [], "weight": 3}
    routes = [
        {**base, "position": 0, "name": "n", "conditions": ["25 of 100 requests"], "redirect": 302},
        {**base, "position": 1, "object": "VirtualService a/b", "path": "spec.http[0]", "direct_response": 404},
        {**base, "position": 2, "clusters": [cluster, {**cluster, "endpoints": [], "endpoints_state": "sent"}]},
    ]
    answer = explained(routes=routes)
    assert explanation_text(answer).splitlines()[3:] == [
        "route                0 n if 25 of 100 requests",
        "  redirects          302",
        "route                1  <- VirtualService a/b spec.http[0]",
        "  answers            404",
        "route                2",
        "  cluster            c [acknowledged] weight 3",
        "  cluster            c [acknowledged] weight 3",
        "    endpoints        none [sent]",
    ]
    assert not is_acknowledged(answer)
