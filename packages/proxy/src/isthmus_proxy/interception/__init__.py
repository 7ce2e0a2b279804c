"""Transparent interception: iptables rules that lead an application's TCP traffic through the proxy."""
