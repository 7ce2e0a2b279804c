"""The proxy's own gRPC client: calls over a cluster's HTTP/2 connections, by callbacks in the reactor or awaited in trio tasks."""
