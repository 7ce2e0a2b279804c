"""What Dubbo writes into registries, whichever they are: URLs, configurators, providers; pure."""
