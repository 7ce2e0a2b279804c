"""``isthmusctl migrate``: walks the share of a service's instances that is shown by another address, and back when that goes wrong."""
