"""Other projects' files: sparse autoencoders as SAELens and plain safetensors store them."""

from amortgap.interop.sae import SAE, architectures, from_encoder
from amortgap.interop.saelens import read, write

__all__ = ["SAE", "architectures", "from_encoder", "read", "write"]
