"""The xDS server: pure subscription state machines, the ADS order, and the gRPC service on top."""
