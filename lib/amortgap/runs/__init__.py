"""Running notebooks: which, with which parameters, whether that is done already, and how it ended."""
