"""HTTP/2 (RFC 9113), HPACK (RFC 7541) and extended CONNECT (RFC 8441), without I/O, for both ends of a connection."""
