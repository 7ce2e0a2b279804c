"""The how-to about ``explain`` shows what the program really says: ten situations, played and compared with the page.

``python packages/mcp-bridge/tests/test_explain_howto.py`` writes the page anew.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

from isthmus_mcp_bridge.catalog.catalog import Catalog
from isthmus_mcp_bridge.catalog.damping import DampingLimits
from isthmus_mcp_bridge.catalog.explain import explain
from isthmus_mcp_bridge.catalog.freshness import FreshnessLimits
from isthmus_mcp_bridge.catalog.guard import GuardLimits
from isthmus_mcp_bridge.catalog.sources import SourceLimits
from isthmus_mcp_bridge.catalog.vips import VipRange, VipTable
from isthmus_mcp_bridge.events import OriginChanged, OriginReport, SourceListed, SourceSuspected
from isthmus_mcp_bridge.model import EndpointClaim, Presence, ServiceClaim, ServiceKey, ServicePort, WarmUp
from isthmus_mcp_bridge.query import explanation_text

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "explain.md"
KEY = ServiceKey("shop", "reviews.shop")
STATED, GUESSED = ServicePort("http", 8080, "HTTP"), ServicePort("http", 80, "HTTP", stated=False)
LIMITS = SourceLimits(GuardLimits(50, 2, 30, 90), FreshnessLimits(300, 3600), DampingLimits())


def at(last: int, **more: object) -> EndpointClaim:
    return EndpointClaim("http", f"10.0.0.{last}", 9080, **more)  # type: ignore[arg-type]


def report(*endpoints: EndpointClaim, port: ServicePort = STATED, revision: str = "") -> OriginReport:
    return OriginReport((ServiceClaim(KEY, (port,), endpoints),), revision=revision)


def catalog(*names: str, vips: VipTable | None = None) -> Catalog:
    return Catalog(names or ("files", "zoo"), dict.fromkeys(names or ("files", "zoo"), LIMITS), vips=vips)


def files(one: Catalog, *endpoints: EndpointClaim, now: float = 0.0) -> None:
    one.apply(SourceListed("files", {"shop.yaml": report(*endpoints)}), now)


def zoo(one: Catalog, *endpoints: EndpointClaim, now: float = 0.0, zxid: str = "0x1f") -> None:
    listed = {"/dubbo/com.shop.Reviews": report(*endpoints, port=GUESSED, revision=f"zxid {zxid}")}
    one.apply(SourceListed("zoo", listed), now)


def one_endpoint() -> tuple[Catalog, float]:
    made = catalog()
    files(made, at(1, weight=200))
    zoo(made, at(1, labels=(("version", "v1"),), locality="eu/a"), at(2))
    return made, 0.0


def offline() -> tuple[Catalog, float]:
    made = catalog()
    files(made, at(1), at(2))
    zoo(made, at(1, presence=Presence.OFFLINE), at(2))
    return made, 0.0


def lost_in_one() -> tuple[Catalog, float]:
    made = catalog()
    files(made, at(1))
    zoo(made, at(2))
    zoo(made, zxid="0x20")
    zoo(made, at(1, presence=Presence.UNHEALTHY), zxid="0x21")
    return made, 0.0


def held() -> tuple[Catalog, float]:
    made = catalog("zoo")
    zoo(made, at(1), at(2), at(3))
    made.take_changes(10, 0.0)
    zoo(made, now=10.0, zxid="0x2")
    return made, 10.0


def corroborated() -> tuple[Catalog, float]:
    made = catalog()
    files(made, at(2, presence=Presence.UNHEALTHY))
    zoo(made, at(1), at(2), at(3))
    made.take_changes(10, 0.0)
    made.apply(OriginChanged("zoo", "/dubbo/com.shop.Reviews", report(port=GUESSED, revision="zxid 0x2")), 10.0)
    return made, 10.0


def away() -> tuple[Catalog, float]:
    made = catalog()
    files(made, at(1))
    zoo(made, at(2))
    made.apply(SourceSuspected("zoo", "the connection to ZooKeeper is lost"), 10.0)
    return made, 20.0


def stale() -> tuple[Catalog, float]:
    made = catalog()
    files(made, at(1, presence=Presence.UNHEALTHY), at(2))
    zoo(made, at(1), at(2, presence=Presence.OFFLINE))
    made.apply(SourceSuspected("zoo", "the connection to ZooKeeper is lost"), 10.0)
    made.tick(311.0)
    return made, 311.0


def flapping() -> tuple[Catalog, float]:
    made = Catalog(["zoo"], {"zoo": SourceLimits(damping=DampingLimits())})
    zoo(made, at(1), at(2), at(3))
    for second in range(1, 5):
        zoo(made, at(1), at(2), now=second, zxid=f"{second * 2:#x}")
        zoo(made, at(1), at(2), at(3), now=second + 0.5, zxid=f"{second * 2 + 1:#x}")
    zoo(made, at(1), at(2), now=5.0, zxid="0xa")
    return made, 5.0


def warming() -> tuple[Catalog, float]:
    made = catalog("zoo")
    zoo(made, at(1), at(2, warm_up=WarmUp(0, 100_000, 10)))
    return made, 45.0


def ports_and_address() -> tuple[Catalog, float]:
    made = catalog(vips=VipTable(VipRange(ipaddress.IPv4Network("240.240.0.0/16"))))
    files(made, at(1))
    grpc = ServicePort("http", 8080, "GRPC")
    made.apply(SourceListed("zoo", {"/dubbo/com.shop.Reviews": report(at(2), port=grpc, revision="zxid 0x1f")}), 0.0)
    return made, 0.0


SITUATIONS: list[tuple[str, str, Callable[[], tuple[Catalog, float]]]] = [
    ("One instance in two registries", "The same socket is one endpoint. Each field names the registry that it comes from.", one_endpoint),
    ("Taken offline in one of them", "An explicit no outweighs every yes: the registry that was told first drains the instance.", offline),
    ("Lost in one, claimed by another", "What a registry counts as lost stays while another one says that it is up.", lost_in_one),
    ("A registry lost almost everything", "The loss is doubted: what was there stays, for the time of the hold at most.", held),
    ("Another registry confirms a loss", "What is only held goes as soon as another registry calls it unhealthy.", corroborated),
    ("A registry is away", "SUSPECT changes nothing.", away),
    ("A registry has been away for long", "STALE yields to what a LIVE registry says, in both directions.", stale),
    ("An instance comes and goes", "After the third loss within a minute it is shown as it was when it last stood for long.", flapping),
    ("An instance warms up", "Its share of its weight grows in five steps.", warming),
    ("Two protocols on one port number", "The first registry keeps the port, the other one is reported. The address is virtual.",
     ports_and_address),
]  # fmt: skip


INTRODUCTION = """\
`isthmus-mcp-bridge explain HOST` says why a service is published as it is: the state of each registry that claims it, which
registry decided each field, and every claim with its place. `+` is published, `-` is not. `-o json` and `/explain?host=` say the
same to programs; `diff` lists every service for which the answer ends in the last line of the fourth situation."""
PLAYERS = (
    "In all of these, `files` goes before `zoo`; a test plays them and compares this page with what the program says."
)


def render() -> str:
    parts = ["# Ask the bridge why", "", INTRODUCTION, "", PLAYERS]
    for number, (title, text, play) in enumerate(SITUATIONS, 1):
        made, now = play()
        made.take_changes(10, now)
        found = explain(made, KEY, now)
        assert found is not None, title
        said = explanation_text({"services": [found]})
        parts += ["", f"## {number}. {title}", "", text, "", "```text", said, "```"]
    return "\n".join(parts) + "\n"


def test_the_page_shows_what_the_program_says() -> None:
    assert PAGE.read_text() == render()


if __name__ == "__main__":
    PAGE.write_text(render())
