"""The same bootstrap file, the same clients and upstreams, in a live Envoy and in our proxy: everything observable is compared."""
