"""Compiles envoy.config.accesslog.v3.AccessLog."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.log_filter import compile_log_filter
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import number, positive_seconds, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import AccessLogConfig, GrpcLogTarget
from isthmus_proxy.observe.access_log import compile_format

_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_GRPC = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_STDOUT = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_STDERR = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog"


def compile_access_logs(logs: Any, path: str) -> tuple[AccessLogConfig, ...]:
    """Compile the access logs of one filter. Raises ConfigError, also for a format that cannot be rendered."""
    return tuple(_filtered(log, f"{path}[{index}]") for index, log in enumerate(logs))


def _filtered(log: Any, path: str) -> AccessLogConfig:
    config = _compile(log, join(path, "typed_config"))
    if not log.HasField("filter"):
        return config
    return replace(config, matches=compile_log_filter(log.filter, join(path, "filter")))


def _compile(log: Any, path: str) -> AccessLogConfig:
    sink: Any = unpack_as(log.typed_config, path, _FILE, _STDOUT, _STDERR, _GRPC)
    name = sink.DESCRIPTOR.full_name
    if name == _GRPC:
        return AccessLogConfig("", grpc=_log_service(sink, path))
    if name == _FILE:
        config = _from_file(sink, path)
    else:
        target = "/dev/stdout" if name == _STDOUT else "/dev/stderr"
        config = _with_format(target, sink.log_format, join(path, "log_format"))
    try:
        compile_format(config)
    except ConfigError as error:
        error.path = join(path, error.path)
        raise
    return config


def _log_service(sink: Any, path: str) -> GrpcLogTarget:
    common, place = sink.common_config, join(path, "common_config")
    return GrpcLogTarget(
        required(common.grpc_service.envoy_grpc, "cluster_name", join(place, "grpc_service.envoy_grpc")),
        required(common, "log_name", place),
        positive_seconds(common, "buffer_flush_interval", 1.0, place),
        number(common, "buffer_size_bytes", 16_384, place),
        tuple(name.lower().encode() for name in sink.additional_request_headers_to_log),
        tuple(name.lower().encode() for name in sink.additional_response_headers_to_log),
    )


def _from_file(sink: Any, path: str) -> AccessLogConfig:
    target = required(sink, "path", path)
    chosen = sink.WhichOneof("access_log_format")
    if chosen == "format":
        return AccessLogConfig(target, text_format=sink.format)
    if chosen in ("json_format", "typed_json_format"):
        document = struct_pairs(getattr(sink, chosen))
        return AccessLogConfig(target, json_format=document, typed=chosen == "typed_json_format")
    return _with_format(target, sink.log_format, join(path, "log_format"))


def _with_format(target: str, log_format: Any, path: str) -> AccessLogConfig:
    omit = bool(log_format.omit_empty_values)
    chosen = log_format.WhichOneof("format")
    if chosen == "json_format":
        return AccessLogConfig(
            target, json_format=struct_pairs(log_format.json_format), typed=True, omit_empty_values=omit
        )
    if chosen == "text_format":
        return AccessLogConfig(target, text_format=log_format.text_format, omit_empty_values=omit)
    if chosen == "text_format_source":
        source = log_format.text_format_source
        if source.WhichOneof("specifier") != "inline_string":
            raise ConfigError(join(path, "text_format_source"), "", "only inline_string is supported")
        return AccessLogConfig(target, text_format=source.inline_string, omit_empty_values=omit)
    return AccessLogConfig(target, omit_empty_values=omit)  # Envoy's default format


def struct_pairs(struct: Any) -> tuple[tuple[str, object], ...]:
    """Return a Struct as nested tuples of (key, value), sorted by key, as the messages do not keep an order."""
    return tuple((key, _plain(value)) for key, value in sorted(struct.fields.items()))


def _plain(value: Any) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct_pairs(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)
