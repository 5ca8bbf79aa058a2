"""How well a latent  s_i_hat = phi_i(w_i . x)  can do at best: bounds in closed form and certified numerics.

D (M, N) has unit columns and row space R; x = D s. A latent sees s only through a.s with a = D'w in R, so
everything here is about the numbers a.s. The statements are proved in `proofs/`.
"""

from amortgap.theory.bounds import (
    code_variance,
    gap_lower_bound,
    gated_gap_lower_bound,
    leverage,
    mcc_upper_bound,
)
from amortgap.theory.fibre import fibre_constant, gated_fibre_constant

__all__ = [
    "code_variance",
    "fibre_constant",
    "gap_lower_bound",
    "gated_fibre_constant",
    "gated_gap_lower_bound",
    "leverage",
    "mcc_upper_bound",
]
