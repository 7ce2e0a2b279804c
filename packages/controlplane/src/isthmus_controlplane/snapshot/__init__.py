"""Resources as shared bytes with content-hash versions, and the immutable snapshots made of them."""
