"""Routing: which virtual host and route serve a request, and how its head changes on the way. Pure."""
