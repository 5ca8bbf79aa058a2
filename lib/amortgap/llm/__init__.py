"""Real activations: language models, text, and the activations between them."""

from amortgap.llm.activations import Activations, Split, activations
from amortgap.llm.corpus import texts, tokens
from amortgap.llm.hooks import read
from amortgap.llm.model import LanguageModel, load
from amortgap.llm.sample import from_file, save
from amortgap.llm.splice import cross_entropy
from amortgap.llm.stream import Stream, stream

__all__ = [
    "Activations",
    "LanguageModel",
    "Split",
    "Stream",
    "activations",
    "cross_entropy",
    "from_file",
    "load",
    "read",
    "save",
    "stream",
    "texts",
    "tokens",
]
