"""How well a latent  s_i_hat = phi_i(w_i . x)  can do at best: bounds in closed form, and a search.

D (M, N) has unit columns and row space R; x = D s. A latent sees s only through a.s with a = D'w in R, so
everything here is about the numbers a.s. The statements T1..T9 and L5 are proved in `proofs/`.

    gap_lower_bound (T6) <= dictionary_gap_lower_bound (T7) <= support_oracle_ceiling.gap <= mcc_ceiling.gap

The first two are proved. The ceilings are the best of a search: numerical suprema, which nothing certifies.
"""

from amortgap.theory.bounds import (
    code_variance,
    gap_lower_bound,
    gated_gap_lower_bound,
    leverage,
    mcc_upper_bound,
)
from amortgap.theory.ceiling import Ceiling, mcc_ceiling, support_oracle_ceiling
from amortgap.theory.eta import eta_squared, sampled_eta_squared
from amortgap.theory.fibre import fibre_constant, gated_fibre_constant
from amortgap.theory.removal import dictionary_gap_lower_bound

__all__ = [
    "Ceiling",
    "code_variance",
    "dictionary_gap_lower_bound",
    "eta_squared",
    "fibre_constant",
    "gap_lower_bound",
    "gated_fibre_constant",
    "gated_gap_lower_bound",
    "leverage",
    "mcc_ceiling",
    "mcc_upper_bound",
    "sampled_eta_squared",
    "support_oracle_ceiling",
]
