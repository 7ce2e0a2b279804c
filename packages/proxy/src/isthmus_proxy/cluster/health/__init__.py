"""What keeps the endpoints of a cluster healthy: active checks, outlier detection, and what both say of an endpoint."""
