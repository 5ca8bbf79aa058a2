"""Real activations: language models, text, and the residual stream between them."""

from amortgap.llm.activations import Activations, Split, activations
from amortgap.llm.corpus import texts, tokens
from amortgap.llm.model import LanguageModel, load
from amortgap.llm.residual import cross_entropy, residual, splice_loss
from amortgap.llm.sample import from_file, save

__all__ = [
    "Activations",
    "LanguageModel",
    "Split",
    "activations",
    "cross_entropy",
    "from_file",
    "load",
    "residual",
    "save",
    "splice_loss",
    "texts",
    "tokens",
]
