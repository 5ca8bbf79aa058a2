"""Other projects' files: sparse autoencoders as SAELens and plain safetensors store them."""

from amortgap.interop.sae import ARCHITECTURES, SAE, from_encoder
from amortgap.interop.saelens import read, write

__all__ = ["ARCHITECTURES", "SAE", "from_encoder", "read", "write"]
