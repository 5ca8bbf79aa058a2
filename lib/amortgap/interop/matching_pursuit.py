"""Matching pursuit as SAELens defines it: the encoder is the decoder.

r = z - b_dec; at most k times:  i = argmax w_i.r,  v = relu(w_i.r),  s_i <- s_i + v,  r <- r - v w_i, with w_i the
decoder's rows as they are. For unit rows this is `encoders.MatchingPursuitEncoder`. A sample stops when its
residual is shorter than a threshold, or after a step that left its support as it was.
Costa et al., From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit (2025),
algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pursue(W_dec: Tensor, r: Tensor, steps: int, residual_threshold: float, stop_on_repeat: bool) -> Tensor:
    """Codes (n, N) in the rows' own scale of r (n, M), which is centred already."""
    s = r.new_zeros(len(r), len(W_dec))
    going = torch.ones(len(r), 1, dtype=torch.bool, device=r.device)
    support = s > 0
    for _ in range(steps):
        value, best = torch.relu(r @ W_dec.T).max(1, keepdim=True)
        value = value * going
        s.scatter_add_(1, best, value)
        r = r - value * W_dec[best[:, 0]]
        if stop_on_repeat:
            before, support = support, s > 0
            going &= (support != before).any(1, keepdim=True)
        if residual_threshold > 0:
            going &= torch.linalg.vector_norm(r, dim=1, keepdim=True) >= residual_threshold
        if not going.any():
            break
    return s
