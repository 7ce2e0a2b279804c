"""Bolt, the RPC protocol of SOFARPC (sofa-bolt): versions 1 and 2, read as far as the header and forwarded as they are."""
