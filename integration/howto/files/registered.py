"""``registered.py ZOOKEEPER INTERFACE``: what stands in ZooKeeper of a Dubbo interface, without the many parameters of Dubbo's own."""

import sys
from urllib.parse import parse_qsl, unquote, urlsplit

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

SHOWN = ("application", "disabled", "isthmus.native", "isthmus.mesh", "isthmus.up")

client = KazooClient(hosts=sys.argv[1])
client.start(20)
for folder in ("providers", "configurators"):
    try:
        names = client.get_children(f"/dubbo/{sys.argv[2]}/{folder}")
    except NoNodeError:
        names = []
    for url in sorted(map(urlsplit, map(unquote, names))):
        shown = [f"{name}={value}" for name, value in parse_qsl(url.query) if name in SHOWN]
        print(f"{folder:13}  {url.scheme}://{url.netloc}  {' '.join(shown)}")
client.stop()
client.close()
