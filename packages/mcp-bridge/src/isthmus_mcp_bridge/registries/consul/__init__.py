"""Services registered in Consul, followed by blocking queries."""
