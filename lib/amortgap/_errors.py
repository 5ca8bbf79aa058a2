"""The error for bad use, which the command line prints without a traceback."""


class Refused(ValueError):
    """Bad use, in one sentence that names what was given and what is accepted."""
