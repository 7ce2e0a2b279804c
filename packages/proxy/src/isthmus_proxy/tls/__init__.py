"""TLS of connections: certificates, contexts, the machine between bytes and records. Nothing here is imported where nothing is TLS."""
