"""The same SAE with a scale moved into its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from amortgap.interop.sae import SAE


def folded(sae: SAE, scale: float = 1.0, norms: bool = False, **change: Any) -> SAE:
    """An SAE that takes x as `sae` takes z = scale x, with s' = s in the file's units and x_hat = z_hat / scale.

    W_enc <- scale W_enc, W_dec <- W_dec / scale, b_dec <- b_dec / scale; a threshold that is compared with h times
    the norms follows the norms. norms: the decoder's norms go into the encoder as well, so that the rows of W_dec
    have norm one (a zero row stays zero, and its latent never fires). Matching pursuit has no weights but W_dec,
    which stays: its codes shrink with its input.
    """
    if sae.architecture == "matching_pursuit":
        threshold = sae.residual_threshold / scale
        return replace(sae, b_dec=sae.b_dec / scale, residual_threshold=threshold, **change)
    length = sae.norms if norms else sae.norms.new_ones(sae.N)
    # a zero row cannot be divided by its norm
    divide = torch.where(length > 0, length, 1)
    new: dict[str, Any] = {
        "W_enc": sae.W_enc * scale * length,
        "b_enc": sae.b_enc * length,
        "W_dec": sae.W_dec / scale / divide[:, None],
        "b_dec": sae.b_dec / scale,
        "b_mag": None if sae.b_mag is None else sae.b_mag * length,
        "threshold": sae.threshold,
    }
    if sae.threshold is not None and sae.rescaled != norms:
        new["threshold"] = sae.threshold / scale if sae.rescaled else sae.threshold * length
    if norms:
        new["rescaled"] = False
    return replace(sae, **(new | change))
