"""External authorization (Envoy's ext_authz): what is asked over HTTP and over gRPC, and how answers are read. Pure."""
