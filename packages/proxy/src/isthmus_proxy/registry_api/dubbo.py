"""The registry API that MOSN serves to Dubbo applications: ``/pub /unpub /sub /unsub``. Pure.

Which registry an application names is its affair with the bridge, which knows the registries; here it changes nothing.
"""

from __future__ import annotations

from isthmus_proxy.registry_api.message import ApiAnswer, BadRequest, read_object, text_of, texts_of
from isthmus_proxy.registry_api.model import Publication
from isthmus_proxy.registry_api.registry import ApplicationRegistry, RegistryFull


class DubboApi:
    """See the module."""

    def __init__(self, registry: ApplicationRegistry) -> None:
        self._registry = registry

    def answer(self, method: str, path: str, body: bytes) -> ApiAnswer:
        """Answer one request."""
        if method != "POST" or path not in ("/pub", "/unpub", "/sub", "/unsub"):
            return ApiAnswer(404, {"err_no": 404, "err_msg": f"there is no {method} {path}"})
        try:
            self._act(path, _service(read_object(body)))
        except (BadRequest, RegistryFull) as error:
            return ApiAnswer(200, {"err_no": 1, "err_msg": str(error)})
        return ApiAnswer(200, {"err_no": 0, "err_msg": "ok"})

    def _act(self, path: str, service: Publication) -> None:
        registry = self._registry
        if path == "/pub":
            registry.publish(service)
        elif path == "/unpub":
            registry.unpublish(service.key)
        elif path == "/sub":
            registry.subscribe(service.service, service.group)
        else:
            registry.unsubscribe(service.service, service.group)


def _service(fields: dict[str, object]) -> Publication:
    found = fields.get("service")
    if not isinstance(found, dict):
        raise BadRequest("service must be an object")
    methods = found.get("methods")
    metadata = texts_of(found, "parameters")
    if isinstance(methods, list):
        metadata["methods"] = ",".join(map(str, methods))
    interface = text_of(found, "interface", required=True)
    application = text_of(fields, "application")
    return Publication(interface, "dubbo", text_of(found, "group"), text_of(found, "version"), application, metadata)
