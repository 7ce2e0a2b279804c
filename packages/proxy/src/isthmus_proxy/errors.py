"""Error families of the proxy: who is at fault decides the class, and each carries what its reader needs."""


class ProxyError(Exception):
    """Base of every error that the proxy raises on purpose."""


class ConfigError(ProxyError):
    """A configuration that cannot be served as it is meant.

    ``path`` is the field path inside the document or resource (``static_resources.clusters[0].lb_policy``), ``value`` the
    offending value as text, ``reason`` what is wrong and what to do next. ``origin`` names the file or xDS resource.
    """

    def __init__(self, path: str, value: str, reason: str, origin: str = "") -> None:
        super().__init__(path, value, reason, origin)
        self.path = path
        self.value = value
        self.reason = reason
        self.origin = origin

    def __str__(self) -> str:
        where = f"{self.origin}: {self.path}" if self.origin else self.path
        shown = f" = {self.value}" if self.value else ""
        return f"{where}{shown}: {self.reason}"


class ProtocolError(ProxyError):
    """A peer broke its protocol. ``detail`` is Envoy's response code detail (``http1.codec_error``)."""

    def __init__(self, status: int, detail: str, message: str) -> None:
        super().__init__(status, detail, message)
        self.status = status
        self.detail = detail
        self.message = message

    def __str__(self) -> str:
        return f"{self.detail}: {self.message}"
