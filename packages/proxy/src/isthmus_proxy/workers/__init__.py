"""Several worker processes behind one set of ports: forked, supervised, and shown as one in the admin view."""
