"""Other projects' files: sparse autoencoders as SAELens, dictionary_learning, sparsify and others store them."""

from amortgap.interop.reading import read
from amortgap.interop.sae import SAE, architectures, from_encoder
from amortgap.interop.saelens import write

__all__ = ["SAE", "architectures", "from_encoder", "read", "write"]
