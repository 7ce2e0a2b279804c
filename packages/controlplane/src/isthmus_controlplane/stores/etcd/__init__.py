"""Configuration in etcd: a mirror that follows one prefix (pure), and the client that feeds it."""
