"""Distributed tracing: whether a request is traced, the headers that carry its context, and its span on the way to a collector."""
