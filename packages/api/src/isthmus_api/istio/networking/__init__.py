"""Traffic: services, routes and what applies to a destination."""
