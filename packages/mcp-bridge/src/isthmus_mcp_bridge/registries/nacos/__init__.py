"""Services registered in Nacos: the HTTP interface of Nacos 1, and the gRPC one of Nacos 2 and 3."""
