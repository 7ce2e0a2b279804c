"""Entries as the SDKs write and expect them."""

from __future__ import annotations

from urllib.parse import unquote_plus

from isthmus_mcp_bridge.backsync.layouts import DUBBO, SOFARPC, Description, entry_name, folder, interface_of
from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.model import SdkService

ABOUT = Description("shop", (("methods", "a,b"), ("serializeType", "hessian2"), ("version", "4.0"), ("weight", "50")))


def test_dubbo() -> None:
    url = DUBBO.url(SdkService("dubbo", "com.x.Foo", "g", "1.0"), Address("10.0.0.1", 20880), ABOUT)
    assert unquote_plus(entry_name(url)) == (
        "dubbo://10.0.0.1:20880/com.x.Foo?application=shop&category=providers&dubbo=2.0.2&dynamic=true&group=g&interface=com.x.Foo"
        "&methods=a,b&serialization=hessian2&side=provider&version=1.0&weight=50"
    )


def test_sofarpc_states_an_empty_unique_id() -> None:
    url = SOFARPC.url(SdkService("bolt", "com.x.Foo", "", "1.0"), Address("::1", 12200), ABOUT)
    assert unquote_plus(entry_name(url)) == (
        "bolt://[::1]:12200/com.x.Foo?appName=shop&dynamic=true&interface=com.x.Foo&methods=a,b&protocol=bolt"
        "&serialization=hessian2&uniqueId=&version=1.0&weight=50"
    )
    seen = SOFARPC.read(entry_name(url), "com.x.Foo")
    assert seen is not None
    assert (seen.service, seen.address) == (SdkService("bolt", "com.x.Foo", "", "1.0"), Address("::1", 12200))


def test_what_is_no_url_is_nothing() -> None:
    assert DUBBO.read("no-url", "com.x.Foo") is None


def test_folders() -> None:
    assert interface_of(folder("/dubbo/", "com.x.Foo$Bar")) == "com.x.Foo$Bar"
