"""Training until the loss on held-out samples stands still, at a rate that falls each time it does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from amortgap.training.history import History
from amortgap.training.loop import fit
from amortgap.training.losses import reconstruction_loss, supervised_loss

CUT = 4.0  # by this the learning rate is divided


def fit_until_still(
    model: nn.Module,
    x: Tensor,
    held_out: Tensor,
    *,
    steps: int,
    rounds: int,
    codes: Tensor | None = None,
    held_out_codes: Tensor | None = None,
    lr: float = 1e-3,
    tol: float = 1e-3,
    cuts: int = 3,
    log_at: Iterable[int] = (),
    **options: Any,
) -> tuple[History, bool]:
    """`fit` in rounds of `steps`, at most `rounds`; what was logged, and whether the loss stood still at the end.

    Where a round lowers the least loss on held_out (n, M) so far by less than its share `tol`, in each of the
    stacked models, the rate is divided by 4; the next such round after `cuts` divisions ends training. Each round
    starts Adam afresh and shuffles anew. Logged are the steps log_at, counted through, and the end of each round.
    Other options go to `fit`; checkpoint files have the round's number behind their name, so that a killed run
    called again ends where it would have ended.
    Raises ValueError as `fit`; for codes without held_out_codes or the reverse; unless steps, rounds >= 1, tol > 0
    and cuts >= 0.
    """
    if (codes is None) != (held_out_codes is None):
        raise ValueError("codes and held_out_codes come together")
    if min(steps, rounds) < 1 or not tol > 0 or cuts < 0:
        raise ValueError("steps and rounds must be >= 1, tol > 0 and cuts >= 0")
    seed, file = options.pop("seed", 0), options.pop("checkpoint_file", None)
    weight = torch.as_tensor(options.get("l1_weight", 0.01)).to(held_out)

    @torch.no_grad()
    def loss() -> Tensor:
        if held_out_codes is None:
            return reconstruction_loss(model, held_out, weight)
        return supervised_loss(model, held_out, held_out_codes)

    log, whole, least = set(log_at), History(), loss()
    for number in range(rounds):
        start, end = number * steps, (number + 1) * steps
        inside = {s - start for s in log if start < s <= end or s == start == 0}
        part = fit(
            model,
            x,
            codes=codes,
            steps=steps,
            lr=lr,
            log_at=sorted(inside | {steps}),
            seed=seed + 1000 * number,
            checkpoint_file=None if file is None else f"{file}.{number}",
            **options,
        )
        whole.append(part, start)
        now = loss()
        still = not bool((least - now > tol * least.abs()).any())
        least = torch.minimum(least, now)
        if still and cuts == 0:
            return whole, True
        if still:
            lr, cuts = lr / CUT, cuts - 1
    return whole, False
