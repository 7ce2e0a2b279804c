"""Package istio.mcp.v1alpha1. ``mcp_pb2`` and ``mcp_pb2_grpc`` need the extra ``grpc``."""
