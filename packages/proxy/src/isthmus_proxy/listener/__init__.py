"""Listeners: accepting connections and giving each to its network filter."""
