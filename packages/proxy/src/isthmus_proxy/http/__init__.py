"""One HTTP exchange: from a request head downstream to a response upstream, and back."""
