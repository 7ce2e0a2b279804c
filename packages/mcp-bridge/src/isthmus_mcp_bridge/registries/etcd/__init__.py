"""Services in etcd, in Dubbo's layout."""
