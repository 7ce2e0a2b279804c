"""grpcio's own ``xds:///`` client, without a proxy, against our control plane."""
