"""Write-back: what SDK consumers shall see, written into legacy registries in their own layouts."""
