"""The xDS client: a pure session, a gRPC stream under it, and what it feeds with resources above it."""
