"""HTTP filters: what stands between the connection manager and the router, in the order of http_filters."""
