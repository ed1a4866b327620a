"""Cases told once, for every layer that can check them."""
