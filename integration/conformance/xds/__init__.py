"""The xDS protocol, vector by vector, over real gRPC connections."""
