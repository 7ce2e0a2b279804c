"""The registry API that SOFARPC speaks with the registry protocol ``mesh`` (registry-mesh's MeshApiClient). Pure.

Every subscription is answered with one address: the sidecar's, where the routes decide. The SDK keeps its parameters and calls
port 12220, whatever the answer says.
"""

from __future__ import annotations

from urllib.parse import urlencode

from isthmus_proxy.registry_api.message import ApiAnswer, BadRequest, read_object, text_of, texts_of
from isthmus_proxy.registry_api.model import Publication
from isthmus_proxy.registry_api.registry import ApplicationRegistry, RegistryFull

_USUAL = {"p": "1", "v": "4.0", "_SERIALIZETYPE": "hessian2"}
_PROTOCOLS = {"1": "bolt", "bolt": "bolt", "": "bolt", "dubbo": "dubbo", "tr": "tr"}


class SofaApi:
    """See the module. ``outbound`` is ``host:port`` for calls."""

    def __init__(self, registry: ApplicationRegistry, outbound: str) -> None:
        self._registry = registry
        self._outbound = outbound
        self._posts = {
            "/configs/application": self._application,
            "/services/publish": self._publish,
            "/services/unpublish": self._unpublish,
            "/services/subscribe": self._subscribe,
            "/services/unsubscribe": self._unsubscribe,
        }

    def answer(self, method: str, path: str, body: bytes) -> ApiAnswer:
        """Answer one request."""
        if method == "GET":
            return self._show(path)
        handle = self._posts.get(path)
        if handle is None or method != "POST":
            return ApiAnswer(404, _failure(f"there is no {method} {path}"))
        try:
            fields = read_object(body)
            if path != "/configs/application" and not self._registry.application:
                return ApiAnswer(200, _failure("Registry module not startup: POST /configs/application comes first"))
            return ApiAnswer(200, {"success": True, "errorMessage": "", **handle(fields)})
        except (BadRequest, RegistryFull) as error:
            return ApiAnswer(200, _failure(str(error)))

    def _application(self, fields: dict[str, object]) -> dict[str, object]:
        name = text_of(fields, "appName")
        self._registry.application = {"appName": name} | {
            key: str(value) for key, value in fields.items() if isinstance(value, str | int | bool)
        }
        return {}

    def _publish(self, fields: dict[str, object]) -> dict[str, object]:
        info = fields.get("providerMetaInfo")
        provider = info if isinstance(info, dict) else {}
        metadata = texts_of(provider, "properties")
        for name in ("version", "serializeType", "protocol"):
            if value := text_of(provider, name):
                metadata[name] = value
        application = text_of(provider, "appName") or self._registry.application.get("appName", "")
        protocol = _protocol(text_of(fields, "protocolType") or text_of(provider, "protocol"))
        service = text_of(fields, "serviceName", required=True)
        self._registry.publish(Publication(service, protocol, text_of(fields, "group"), "", application, metadata))
        return {}

    def _unpublish(self, fields: dict[str, object]) -> dict[str, object]:
        service = text_of(fields, "serviceName", required=True)
        self._registry.unpublish((service, _protocol(text_of(fields, "protocolType")), text_of(fields, "group"), ""))
        return {}

    def _subscribe(self, fields: dict[str, object]) -> dict[str, object]:
        service = text_of(fields, "serviceName", required=True)
        self._registry.subscribe(service, text_of(fields, "group"))
        return {"serviceName": service, "datas": [self._address(service)]}

    def _unsubscribe(self, fields: dict[str, object]) -> dict[str, object]:
        self._registry.unsubscribe(text_of(fields, "serviceName", required=True), text_of(fields, "group"))
        return {}

    def _address(self, service: str) -> str:
        parameters = dict(_USUAL)
        known = self._registry.find(service)
        if known is not None and "serializeType" in known.metadata:
            parameters["_SERIALIZETYPE"] = known.metadata["serializeType"]
        return f"{self._outbound}?{urlencode(parameters)}"

    def _show(self, path: str) -> ApiAnswer:
        """What people ask for who look for a mistake."""
        registry = self._registry
        if path == "/configs/application":
            return ApiAnswer(200, registry.application)
        if path == "/services":
            published = [{"serviceName": each.service, "protocolType": each.protocol} for each in registry.published]
            subscribed = [service for service, _ in sorted(registry.subscriptions)]
            return ApiAnswer(200, {"published": published, "subscribed": subscribed, "alive": registry.alive})
        return ApiAnswer(404, _failure(f"there is no GET {path}"))


def _protocol(kind: str) -> str:
    """The codec for a protocol type of SOFARPC: a name, or the number that Bolt has in addresses."""
    return _PROTOCOLS.get(kind.lower(), kind.lower())


def _failure(reason: str) -> dict[str, object]:
    return {"success": False, "errorMessage": reason}
