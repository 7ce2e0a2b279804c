"""Services registered in SOFARegistry 6: subscriptions at a session server, over Bolt and protobuf."""
