"""amortgap: how much is lost when a sparse code is read off by a feed-forward encoder instead of solved for."""

__version__ = "0.1.0"
