"""What page 23 lets a reader play with: one signal, a solver step by step, the plane, latents, SAE files.

All return plain rows; `amortgap.kit.explore` draws them.
"""

from amortgap.explore.files import listing
from amortgap.explore.latents import ORDERS, latents_of, matching, small_sae
from amortgap.explore.plane import plane
from amortgap.explore.signal import ENCODERS, SOLVERS, one_signal
from amortgap.explore.stepping import STEPPED, stepped

__all__ = [
    "ENCODERS",
    "ORDERS",
    "SOLVERS",
    "STEPPED",
    "latents_of",
    "listing",
    "matching",
    "one_signal",
    "plane",
    "small_sae",
    "stepped",
]
