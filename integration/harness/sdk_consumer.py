"""A consumer with a registry SDK, in Python: follows an interface in ZooKeeper by Dubbo's rules and calls what it finds itself."""

import contextlib
import http.client
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Self
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from kazoo.client import KazooClient


def callable_addresses(providers: list[str], configurators: list[str]) -> list[str]:
    """The ``host:port`` of the providers that configurators leave enabled, sorted (Dubbo 2.7 and 3, interface level)."""
    disabled = set()
    for name in configurators:
        url = urlsplit(unquote_plus(name))
        query = dict(parse_qsl(url.query))
        if url.scheme == "override" and query.get("enabled", "true") == "true" and query.get("disabled") == "true":
            disabled.add(url.netloc)
    found = (urlsplit(unquote_plus(name)) for name in providers)
    usable = {url.netloc for url in found if dict(parse_qsl(url.query)).get("disabled") != "true"}
    return sorted(usable - disabled)


class SdkConsumer:
    """Requests at a steady pace, each to the next address of those that the registry shows at that moment."""

    def __init__(self, zookeeper: str, interface: str, *, rate: float = 50.0) -> None:
        self.addresses: list[str] = []
        self.seen: deque[tuple[str, ...]] = deque(maxlen=10_000)
        self.calls: Counter[str] = Counter()
        self.failures: deque[str] = deque(maxlen=1000)
        self.without_address = 0
        self._path = f"/dubbo/{interface}"
        self._pause_s = 1 / rate
        self._stop = threading.Event()
        self._children: dict[str, list[str]] = {"providers": [], "configurators": []}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._client = KazooClient(hosts=zookeeper)
        self._client.start(timeout=20)
        for folder in self._children:
            self._client.ensure_path(f"{self._path}/{folder}")
            self._client.ChildrenWatch(f"{self._path}/{folder}", self._follower(folder))

    def _follower(self, folder: str) -> Callable[[list[str]], None]:
        def follow(children: list[str]) -> None:
            self._children[folder] = children
            self.addresses = callable_addresses(self._children["providers"], self._children["configurators"])
            self.seen.append(tuple(self.addresses))

        return follow

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        with contextlib.suppress(Exception):
            self._client.stop()
            self._client.close()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.wait(self._pause_s):
                return
            addresses = self.addresses
            if addresses:
                self._call(addresses[number % len(addresses)])
            elif self.calls:  # at the start there may be none yet
                self.without_address += 1

    def _call(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                self.failures.append(f"{address}: status {response.status}")
            self.calls[address] += 1
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{address}: {type(error).__name__} {error}")
        finally:
            connection.close()
