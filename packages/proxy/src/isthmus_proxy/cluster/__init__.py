"""Clusters: endpoints, their health and priorities, load balancers and circuit breakers. Pure but for ``dns``."""
