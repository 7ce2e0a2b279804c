"""JSON Web Tokens: reading, verifying, and what a configuration requires of them (Envoy's jwt_authn)."""
