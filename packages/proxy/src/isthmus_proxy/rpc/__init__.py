"""RPC protocols through the proxy: batches of frames, decisions made once per distinct header, connections multiplexed by identifier."""
