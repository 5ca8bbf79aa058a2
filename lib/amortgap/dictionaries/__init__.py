"""Dictionary learning: find D and the codes together."""

from amortgap.dictionaries.log_adam import log_adam_dictionary

__all__ = ["log_adam_dictionary"]
