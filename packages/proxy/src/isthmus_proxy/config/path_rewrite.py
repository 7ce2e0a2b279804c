"""Compiles how a route rewrites the path: by prefix, by regular expression or by template."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_path_template, compile_regex_rewrite
from isthmus_proxy.config.values import required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.route.model import RegexRewrite
from isthmus_proxy.route.uri_template import BadTemplateError, TemplateRewrite, compile_rewrite

_TEMPLATE = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"


def compile_rewrites(route: Any, path: str) -> tuple[bytes | None, RegexRewrite | None, TemplateRewrite | None]:
    """Compile the path rewrites of a forwarding route; ``path`` is that of its action. At most one may be set."""
    action = route.route
    given = [name for name in ("regex_rewrite", "path_rewrite_policy") if action.HasField(name)]
    if action.prefix_rewrite:
        given.insert(0, "prefix_rewrite")
    if len(given) > 1:
        raise ConfigError(join(path, given[1]), "", f"only one of {given[0]} and {given[1]} may be set")
    if not given:
        return None, None, None
    if given == ["regex_rewrite"]:
        return None, compile_regex_rewrite(action.regex_rewrite, join(path, "regex_rewrite")), None
    if given == ["path_rewrite_policy"]:
        return None, None, _template(route, join(path, "path_rewrite_policy"))
    if route.match.HasField("path_match_policy"):
        reason = "does not go with path_match_policy; use path_rewrite_policy"
        raise ConfigError(join(path, "prefix_rewrite"), shown(action.prefix_rewrite), reason)
    return action.prefix_rewrite.encode(), None, None


def _template(route: Any, path: str) -> TemplateRewrite:
    if not route.match.HasField("path_match_policy"):
        raise ConfigError(path, "", "needs a path_match_policy in the match of its route")
    template = compile_path_template(route.match.path_match_policy, path.partition(".route.")[0] + ".match")
    path = join(path, "typed_config")
    config = unpack_as(route.route.path_rewrite_policy.typed_config, path, _TEMPLATE)
    text = required(config, "path_template_rewrite", path)
    try:
        return compile_rewrite(text, template)
    except BadTemplateError as error:
        raise ConfigError(join(path, "path_template_rewrite"), shown(text), str(error)) from error
