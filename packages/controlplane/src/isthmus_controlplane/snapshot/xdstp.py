"""Names of the form ``xdstp://AUTHORITY/TYPE/ID?PARAMETERS#DIRECTIVES``, and the collections that they make. Pure.

"xDS transport next" (TP1 of cncf/xds): two names are equal when their parts are, in whatever order the context parameters stand. A
name whose last part is ``*`` means all resources in its place: a glob collection.
"""

from __future__ import annotations

SCHEME = "xdstp://"


def canonical(name: str) -> str:
    """Return the form of a name in which equal names are equal texts; other names are returned as they are."""
    if not name.startswith(SCHEME) or "?" not in name:
        return name
    rest, mark, directives = name.partition("#")
    path, _, parameters = rest.partition("?")
    ordered = "&".join(sorted(each for each in parameters.split("&") if each))
    return f"{path}{'?' if ordered else ''}{ordered}{mark}{directives}"


def is_glob(name: str) -> bool:
    """Whether a name means a collection."""
    return name.startswith(SCHEME) and name.partition("?")[0].endswith("/*")


def glob_of(name: str) -> str:
    """Return the collection that a resource is in; empty for one that is in none."""
    if not name.startswith(SCHEME):
        return ""
    path, mark, parameters = name.partition("?")
    # Authority and type are no part of the place: ``xdstp://a/T/x`` is in ``xdstp://a/T/*``.
    place, slash, last = path.removeprefix(SCHEME).rpartition("/")
    if not slash or not last or last == "*" or place.count("/") < 1:
        return ""
    return f"{SCHEME}{place}/*{mark}{parameters}"
