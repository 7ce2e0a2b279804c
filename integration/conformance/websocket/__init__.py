"""WebSocket (RFC 6455) through the proxy: upgrades, and frames relayed as they are."""
