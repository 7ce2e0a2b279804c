"""The filter ``isthmus.filters.http.python``: runs filters of installed packages, in Python (``isthmus_proxy.extension``)."""
