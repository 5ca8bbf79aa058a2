"""numba kernels of the solvers for CPUs. They are imported when first used: numba takes half a second.

Letters, in all of them:

    A (k,)      indices of the active atoms, those with a coefficient; k of the array's entries are in use
    g (k,)      signs of their coefficients, 1 in the nonnegative case
    s (k,)      their coefficients without sign, s >= 0
    G (N, N)    Gram matrix D'D
    H (k, k)    inverse of the Gram matrix of the active atoms, in homotopy and working_set signs included
    c (N,)      correlations D'(x - D s)
    u, d (k,)   directions H v
    w (k,)      weights of a sum of rows, or scratch
    schur       squared length of what an atom adds to the active ones, G_jj - G_jA H G_Aj

Operations are counted as amortgap.flops says, where they are done.
"""

from amortgap._kernels.jit import fused, jit

__all__ = ["fused", "jit"]
