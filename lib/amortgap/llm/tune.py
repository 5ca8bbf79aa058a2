"""Train encoders on activations so that their mean number of active latents comes out as wanted.

Architectures can only be compared at one L0. Those that are given k have it; for the others a penalty is sought.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amortgap.llm.train import build, penalty_for, rule, set_threshold, train
from amortgap.metrics import l0
from amortgap.training import History, stack, unstack

MISS = 0.1  # share of the target by which the mean L0 may be off before the penalty is read off again


@dataclass
class Tuned:
    """Encoders of one architecture at a wanted mean L0.

    model: stacked, one a seed.  history: of the first, with the seconds of all.
    l0 (seeds,): mean L0 of each on validation activations.
    penalty: alpha of 1/2 |x - D s|^2 + alpha |s|_1 (or of the L0 penalty in the same units); 0 for those given k.
    again: whether the first penalty read off missed, so that all were trained a second time.
    tried: the single models trained on the way, each with its penalty.
    """

    model: nn.Module
    history: History
    l0: Tensor
    penalty: float = 0.0
    again: bool = False
    tried: list[tuple[float, nn.Module]] = field(default_factory=list)


def train_as_one(
    name: str,
    models: Sequence[nn.Module],
    x: Tensor,
    x_val: Tensor,
    alpha: float | Sequence[float] | Tensor = 0.0,
    **options: Any,
) -> Tuned:
    """Train `models` of architecture `name` as one stack on x (n, M), at alpha (a number, or one a model).

    alpha multiplies |s|_1 beside 1/2 |x - x_hat|^2, so the weight of mean |s| beside mean (x - x_hat)^2 is
    2 N alpha / M. options go to `llm.train.train`. A BatchTopK encoder then gets the threshold at which its mean L0
    on x_val is k, because the running mean that it kept while training lags behind.
    """
    model = stack(models).to(x.device)
    M, N = model.get_parameter("decoder.D").shape[-2:]
    weight = torch.as_tensor(np.asarray(alpha)) * (2 * N / M)
    history = train(model, x, l1_weight=weight.to(x), label=name, **options)
    if rule(name)[0] == "batch_topk":
        set_threshold(model, x_val)
    with torch.no_grad():
        return Tuned(model, history, l0(model.encode(x_val)).double().cpu())  # type: ignore[operator]


def train_each(
    name: str,
    models: Sequence[nn.Module],
    x: Tensor,
    x_val: Tensor,
    alpha: Tensor,
    *,
    seed: int,
    **options: Any,
) -> Tuned:
    """As `train_as_one`, but each in an order of the samples of its own: model s in that of seed + s."""
    found = [
        train_as_one(name, [one], x, x_val, alpha, seed=seed + s, **options) for s, one in enumerate(models)
    ]
    history = found[0].history
    history.seconds = sum(one.history.seconds for one in found)
    model = stack([unstack(one.model, 0) for one in found])
    return Tuned(model, history, torch.cat([one.l0 for one in found]))


def train_at_l0(
    name: str,
    N: int,
    x: Tensor,
    x_val: Tensor,
    target: float,
    penalties: Sequence[float] | Tensor = (),
    *,
    seeds: int = 1,
    seed: int = 0,
    log_at: Sequence[int] = (),
    measure: Callable[[nn.Module], dict[str, Any]] | None = None,
    **options: Any,
) -> Tuned:
    """`seeds` encoders of architecture `name` with N latents whose mean L0 on x_val (m, M) is `target`.

    They differ in their start and in the order of the samples. Those that are given k get round(target). The
    others are first trained at each of `penalties`, one seed each; `penalty_for` reads off the penalty, and all
    seeds are trained with it. Where their mean L0 misses by more than a tenth and tries lie on both sides of the
    target, the penalty is read off again and they are trained anew. The weight of the penalty is computed in the
    precision in which penalties are given. log_at and measure concern
    the encoders returned. Raises ValueError as `penalty_for` and `train`.
    """
    M, k = x.shape[1], round(target)
    fresh = [build(name, M, N, k=k, seed=seed + s) for s in range(seeds)]
    options |= {"seed": seed}

    def final(alpha: Tensor) -> Tuned:
        return train_each(name, fresh, x, x_val, alpha, log_at=log_at, measure=measure, **options)

    if rule(name)[2] == "k":
        return final(torch.zeros(()))
    alphas = torch.as_tensor(np.asarray(penalties))
    sweep = train_as_one(name, [build(name, M, N, seed=seed) for _ in alphas], x, x_val, alphas, **options)
    chosen = penalty_for(target, alphas, sweep.l0)
    result = final(alphas.new_tensor(chosen))
    found = torch.cat([sweep.l0, result.l0.mean()[None]])
    again = bool(abs(result.l0.mean() / target - 1) > MISS and found.min() < target < found.max())
    if again:
        chosen = penalty_for(target, torch.cat([alphas, torch.tensor([chosen])]), found)
        result = final(alphas.new_tensor(chosen))
    result.penalty, result.again = chosen, again
    result.tried = [(float(a), unstack(sweep.model, i)) for i, a in enumerate(alphas)]
    return result
