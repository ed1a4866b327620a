"""Side by side with the peers, in one run: what a request costs. `make bench`; see README.md."""
