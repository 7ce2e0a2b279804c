"""The suite ``grpc-xds``: what a proxyless client needs, case by case, on one control plane."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from conformance.grpc_xds.mesh import HOST, Client, Mesh, running
from conformance.result import Outcome, failed, passed
from conformance.xds import world
from conformance.xds.vector import expect
from harness.eventually import eventually

NAME = "grpc-xds"
PEERS: tuple[str, ...] = ()
SPLIT_CALLS = 400


def run(subject: str, folder: Path) -> Iterator[Outcome]:
    """Run the cases in order on one mesh; each begins with what it publishes."""
    del subject
    with running(folder) as mesh:
        for name, check in CASES.items():
            try:
                check(mesh)
            except (AssertionError, OSError) as error:
                yield failed(NAME, name, str(error))
            else:
                yield passed(NAME, name)


def _answered_by(mesh: Mesh, *names: str, **metadata: str) -> None:
    """From some moment on, exactly these backends answer."""
    seen: Counter[str] = Counter()

    def check() -> bool:
        nonlocal seen
        seen = mesh.client.count(4 * len(names), **metadata)
        return set(seen) == set(names)

    try:
        eventually(check)
    except AssertionError:
        raise AssertionError(f"answered by {dict(seen)}, wanted {', '.join(names)}") from None


def first_call(mesh: Mesh) -> None:
    """Listener, route configuration, cluster and endpoints come."""
    _answered_by(mesh, "one")


def endpoints_added(mesh: Mesh) -> None:
    """New endpoints take part."""
    mesh.publish(["one", "two"])
    _answered_by(mesh, "one", "two")


def endpoint_removed(mesh: Mesh) -> None:
    """A removed endpoint does not."""
    mesh.publish(["two"])
    _answered_by(mesh, "two")


def route_to_a_subset(mesh: Mesh) -> None:
    """A route's cluster is a subset."""
    mesh.publish(["one", "two", "three"], {"route": [world.to(HOST, mesh.subset("three"))]})
    _answered_by(mesh, "three")


def weighted_clusters(mesh: Mesh) -> None:
    """Calls are split by weight."""
    one, two = mesh.subset("one"), mesh.subset("two")
    mesh.publish(["one", "two"], {"route": [world.to(HOST, one, 80), world.to(HOST, two, 20)]})
    _answered_by_both(mesh)
    seen = mesh.client.count(SPLIT_CALLS)
    # 20 % of 400 calls are 80; five standard deviations of 8 to each side.
    expect(set(seen) == {"one", "two"} and 40 <= seen["two"] <= 120, f"of {SPLIT_CALLS} calls at 80:20, {dict(seen)}")


def _answered_by_both(mesh: Mesh) -> None:
    eventually(lambda: set(mesh.client.count(40)) == {"one", "two"}, what="both subsets")


def header_match(mesh: Mesh) -> None:
    """A header decides on the route."""
    match = [{"headers": {"user": {"exact": "tester"}}}]
    mesh.publish(
        ["one", "two"],
        {"match": match, "route": [world.to(HOST, mesh.subset("two"))]},
        {"route": [world.to(HOST, mesh.subset("one"))]},
    )
    _answered_by(mesh, "two", user="tester")
    _answered_by(mesh, "one", user="other")


def update_under_load(mesh: Mesh) -> None:
    """Routes and endpoints change all the time, and no call fails."""
    stop = threading.Event()
    seen: Counter[str] = Counter()

    def load() -> None:
        while not stop.is_set():
            seen[mesh.client.ask()] += 1

    caller = threading.Thread(target=load)
    caller.start()
    try:
        for number in range(30):
            name = ("one", "two", "three")[number % 3]
            mesh.publish(["one", "two", "three"], {"route": [world.to(HOST, mesh.subset(name))]})
            eventually(functools.partial(_moved_on, seen, seen.total(), name))
    finally:
        stop.set()
        caller.join()
    expect(set(seen) == {"one", "two", "three"}, f"calls under load ended so: {dict(seen)}")


def _moved_on(seen: Counter[str], before: int, name: str) -> bool:
    return seen.total() > before + 5 and seen[name] > 0


def control_plane_restart(mesh: Mesh) -> None:
    """Calls go on while the control plane is away, and follow it when it is back."""
    mesh.publish(["one"])
    _answered_by(mesh, "one")
    mesh.plane.kill()
    seen = mesh.client.count(20)
    expect(set(seen) == {"one"}, f"without the control plane, {dict(seen)}")
    mesh.publish(["two"])
    mesh.plane.restart()
    _answered_by(mesh, "two")


def route_timeout(mesh: Mesh) -> None:
    """The timeout of a route ends a call (gRPC reads max_stream_duration)."""
    # gRPC counts from a start that it takes from the cycle counter; in virtual machines it lies up to 2 s before the call.
    mesh.publish(["one"], {"route": [world.to(HOST)], "timeout": "3s"})
    answer = ""

    def ended() -> bool:
        nonlocal answer
        answer = mesh.client.ask(wait="4")
        return answer.startswith("error DEADLINE_EXCEEDED")

    try:
        eventually(ended, within=30)
    except AssertionError:
        raise AssertionError(f"a call of 4 s under a timeout of 3 s ended with {answer!r}") from None
    expect(mesh.client.ask() == "one", "a call without a wait fails, too")


def service_removed_and_back(mesh: Mesh) -> None:
    """Calls fail while the service is away, and go on when it is back."""
    world.write(mesh.folder, world.service("other.shop", 1))
    eventually(lambda: mesh.client.ask().startswith("error"), what="calls to a removed service fail")
    mesh.publish(["one"])
    _answered_by(mesh, "one")


def unknown_target(mesh: Mesh) -> None:
    """A service that nobody knows is an error, not a silence."""
    client = Client(mesh.plane.grpc_address, "nobody.shop:80")
    try:
        answer = client.ask()
    finally:
        client.stop()
    expect(answer.startswith("error"), f"answered {answer!r}")


def nothing_rejected(mesh: Mesh) -> None:
    """In all this the client rejected nothing."""
    found = mesh.rejected()
    expect(not found, f"rejected: {found}")


CASES: dict[str, Callable[[Mesh], None]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        first_call,
        endpoints_added,
        endpoint_removed,
        route_to_a_subset,
        weighted_clusters,
        header_match,
        update_under_load,
        control_plane_restart,
        route_timeout,
        service_removed_and_back,
        unknown_target,
        nothing_rejected,
    )
}
