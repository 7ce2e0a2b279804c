"""Stats and access logs."""
