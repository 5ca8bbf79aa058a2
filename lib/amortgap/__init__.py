"""How much is lost when a sparse code is read off by a feed-forward encoder instead of being solved for."""

__version__ = "0.1.0"
