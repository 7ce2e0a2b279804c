"""Services registered in Eureka: full fetches, then deltas that are checked by their hash."""
