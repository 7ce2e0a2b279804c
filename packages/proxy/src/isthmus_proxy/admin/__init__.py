"""The admin server: what the proxy says of itself, and the few orders it takes, over HTTP on loopback."""
