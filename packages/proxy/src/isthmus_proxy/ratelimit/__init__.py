"""Global rate limiting: what of a request is told to a rate limit service, and what its answer means."""
