"""Request smuggling and limits of HTTP/1.1 (RFC 9112): bytes sent, and what may come of them."""
