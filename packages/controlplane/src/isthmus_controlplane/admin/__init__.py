"""HTTP endpoints for operators: readiness, metrics, status, and the configuration API."""
