"""Role-based access control (Envoy's rbac): policies as values, and the engine that decides by them. Pure."""
