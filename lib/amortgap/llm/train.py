"""One training protocol for encoders on real activations, so that architectures differ in nothing else.

All start tied to their decoder, keep unit decoder columns and a pre-bias, see the same batches, and have their dead
latents resampled at the same steps. Of those with a frozen part (see `frozen`) nothing is resampled.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amortgap._check import check_alpha
from amortgap.encoders import ENCODERS, Encoder
from amortgap.encoders._decoder import Decoder
from amortgap.llm.frozen import FROZEN, freeze
from amortgap.llm.stream import Stream
from amortgap.solvers import solve
from amortgap.training import History, fit_in_stages

PROBE = 8192  # training vectors on which a latent must be silent to count as dead


def architectures() -> dict[str, tuple[str, dict[str, Any], str]]:
    """Name -> encoder, its options, and what sets its sparsity: "k", or the weight of an L1 or L0 penalty."""
    return {
        name: (key, options, kind.sparsity)
        for key, kind in ENCODERS.items()
        for name, options in kind.variants.items()
    }


ARCHITECTURES = architectures()

#: name -> the architecture, and what of it is frozen
BASELINES = {f"TopK, {part}": ("TopK", part) for part in FROZEN}


def rule(name: str) -> tuple[str, dict[str, Any], str]:
    """What `architectures` says of one, or of the one that a baseline is made of. KeyError for other names."""
    return architectures()[BASELINES[name][0] if name in BASELINES else name]


def build(name: str, M: int, N: int, *, k: int = 32, seed: int = 0) -> Encoder:
    """The encoder called `name` in `architectures` or BASELINES, tied to its decoder, with bias and pre-bias.

    "MLP" has the paper's hidden width N/2; "MLP, equal compute" has h = MN/(M + N), at which its two layers cost
    what one linear map costs. Raises KeyError for another name.
    """
    key, options, sparsity = rule(name)
    given = {option: value(M, N) if callable(value) else value for option, value in options.items()}
    if sparsity == "k":
        given["k"] = k
    model = ENCODERS[key](M, N, pre_bias=True, seed=seed, **given)
    return freeze(model, BASELINES[name][1]) if name in BASELINES else model


def train(
    model: nn.Module,
    x: Tensor | Stream,
    *,
    steps: int,
    stages: int = 3,
    batch_size: int | None = None,
    seed: int = 0,
    **options: Any,
) -> History:
    """`fit_in_stages` on x (n, M), or on the training split of a stream from disk. Changes the model in place.

    model: stacked or single; one with a frozen part has one stage.  Dead: silent on 8192 random rows, of a stream
    on the first of the order of `seed`.
    Epoch e of a stream is in the order of seed + e, without its last, smaller batch.  Options go to `fit`.
    Raises ValueError as `fit_in_stages`, and for batches larger than the split.
    """
    stages = 1 if hasattr(model, "frozen") else stages
    if isinstance(x, Stream):
        count = x.count("train")
        if batch_size is None or not 1 <= batch_size <= count:
            raise ValueError(f"batch_size must be between 1 and n = {count}, not {batch_size}")
        some = next(x.batches(min(PROBE, count), seed=seed)).to(model.get_parameter("decoder.D"))
        data: Any = partial(x.endless, batch_size, seed)
        return fit_in_stages(
            model, data, steps=steps, stages=stages, probe=lambda _: some, seed=seed, **options
        )

    def probe(stage: int) -> Tensor:
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + stage))[:PROBE]
        return x[rows.to(x.device)]

    given: dict[str, Any] = {"steps": steps, "stages": stages, "batch_size": batch_size, "seed": seed}
    return fit_in_stages(model, x, probe=probe, **given, **options)


def preactivations(model: Encoder, x: Tensor) -> Tensor | None:
    """(n, N): by what an encoder chooses latents for x (n, M); None where none of its layers does.

    Of an unrolled solver it is what its second step sees.
    """
    last = model.last_layer(model.decoder.centre(x)) if isinstance(model, Encoder) else None
    if last is None:
        return None
    h = last.input @ last.weight.mT
    if last.between is not None:
        u = h - sum(last.thresholds)
        return u + torch.relu(u) @ last.between.mT
    for bias in last.biases[:1]:
        h = h + bias
    return h


def penalty_for(target: float, tried: Tensor, found: Tensor) -> float:
    """The penalty at which the mean L0 is `target`, given the L0 `found` at each one `tried`.

    Read off the straight line, of log L0 against log penalty, through the two tries whose log L0 is nearest to the
    target's, and never further than a factor of 3 outside the range tried. So a miss can be tried again: append it.
    Raises ValueError for fewer than two penalties, or values that are not positive.
    """
    if len(tried) < 2 or len(tried) != len(found) or not (tried > 0).all() or not target > 0:
        raise ValueError("a target L0 > 0 and the L0 at two or more penalties > 0 are needed")
    tried, found = tried.double().cpu(), found.double().cpu()
    log_l0 = found.clamp_min(0.1).log()
    near = (log_l0 - np.log(target)).abs().argsort(stable=True)[:2]
    line = np.polyfit(log_l0[near], tried.log()[near], 1)
    low, high = tried.min().item() / 3, 3 * tried.max().item()
    return float(np.exp(np.clip(np.polyval(line, np.log(target)), np.log(low), np.log(high))))


@torch.no_grad()
def set_threshold(model: Any, x: Tensor) -> None:
    """Give a stacked BatchTopKEncoder the threshold at which the mean L0 over x (n, M) is its k."""
    model.theta.zero_()
    kept = [s.flatten().topk(model.k * len(x)).values[-1] for s in model.encode(x)]
    model.theta.copy_(torch.stack(kept))


def size_of_run(manifest: dict[str, Any], x: Tensor, seen: int, seconds: float) -> list[dict[str, str]]:
    """What a run was trained on and how long it took, as rows for a table.

    manifest: of the activations x (n, M); seen: activations each encoder was trained on, repeats counted; seconds
    of the run. Reading text through the language model is counted apart, since later runs find it on disk.
    """
    rate = manifest.get("tokens_per_second")
    rows = {
        "language model": manifest["model"],
        "tokens it read": f"{manifest['n_tokens']:,}",
        "training activations": f"{len(x):,}",
        "seen by each encoder, with repeats": f"{seen:,}",
        "hours of reading": f"{manifest['n_tokens'] / rate / 3600:.2f}" if rate else "not recorded",
        "hours of the rest": f"{seconds / 3600:.2f}",
        "on": f"{x.device.type}, {torch.get_num_threads()} thread(s)",
    }
    return [{"what": name, "value": str(value)} for name, value in rows.items()]


class SparseCoder(nn.Module):
    """A dictionary D (M, N) whose codes are solved for, with encode and decode like an encoder; nothing to train.

    encode(x): the nonnegative LASSO at `alpha`, to a certified relative gap of 1e-4.
    """

    def __init__(self, D: Tensor, alpha: float) -> None:
        super().__init__()
        M, N = D.shape
        self.decoder, self.alpha = Decoder(M, N, D, False, torch.Generator()), check_alpha(alpha)

    def encode(self, x: Tensor) -> Tensor:
        return solve(self.decoder.D, x, self.alpha, tol=1e-4).codes

    def decode(self, s: Tensor) -> Tensor:
        return self.decoder(s)


if __name__ == "__main__":
    from amortgap.llm.distributed import main

    main()
