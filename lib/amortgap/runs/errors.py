"""The one exception of `runs`, `report` and the command line."""


class Refused(ValueError):
    """Bad use, told in one sentence that names what was given and what is accepted."""
