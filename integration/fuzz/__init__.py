"""Random input for parsers, for as long as one likes, from seeds that can be given again."""
