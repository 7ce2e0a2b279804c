"""Services that Dubbo-style applications registered in ZooKeeper."""
