"""A collector of spans: it takes the reports of proxies over HTTP."""

import http.server
import json
import threading
from typing import Any, Self

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # type: ignore[import-untyped]
    ExportTraceServiceRequest,
)


class Collector:
    """Takes spans over HTTP, in the form of OTLP or of Zipkin."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, bytes]] = []
        reports = self.reports

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                reports.append((self.path, self._body()))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                if "content-length" in self.headers:
                    return self.rfile.read(int(self.headers["content-length"]))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def services(self) -> dict[str, list[dict[str, str]]]:
        """The attributes of the spans so far, by the name of the service that reported them; of OTLP."""
        found: dict[str, list[dict[str, str]]] = {}
        for _, body in self.reports:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in getattr(resource, "scope_spans", None) or resource.instrumentation_library_spans:
                    for span in scope.spans:
                        attributes = {each.key: each.value.string_value for each in span.attributes}
                        found.setdefault(named.get("service.name", ""), []).append(attributes)
        return found

    def spans(self) -> list[dict[str, Any]]:
        """All spans so far, as comparable values."""
        return [
            span for path, body in self.reports for span in (otlp_spans(body) if "v1" in path else zipkin_spans(body))
        ]


def otlp_spans(body: bytes) -> list[dict[str, Any]]:
    found = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        # The classes at hand are older than the name "scope"; the numbers of the fields are the same.
        for scope in getattr(resource, "scope_spans", None) or resource.instrumentation_library_spans:
            for span in scope.spans:
                one = MessageToDict(span)
                one["attributes"] = {each.key: each.value.string_value for each in span.attributes}
                assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
                found.append(comparable_span(one, ("startTimeUnixNano", "endTimeUnixNano")))
    return found


def zipkin_spans(body: bytes) -> list[dict[str, Any]]:
    return [
        comparable_span(span, ("timestamp", "duration", "annotations", "localEndpoint")) for span in json.loads(body)
    ]


def comparable_span(span: dict[str, Any], varying: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in span.items() if name not in varying}
