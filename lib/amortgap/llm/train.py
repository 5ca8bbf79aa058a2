"""One training protocol for encoders on real activations, so that architectures differ in nothing else.

All start tied to their decoder, keep unit decoder columns and a pre-bias, see the same batches, and have their dead
latents resampled at the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amortgap._check import check_alpha
from amortgap.encoders import ENCODERS, MLPEncoder, resample_dead
from amortgap.encoders._decoder import Decoder
from amortgap.problem import unit_columns
from amortgap.solvers import solve
from amortgap.training import History, fit, unstack

PROBE = 8192  # training vectors on which a latent must be silent to count as dead

#: Name -> encoder, its options, and what sets its sparsity: "k", or the weight of an L1 or L0 penalty.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "ReLU": ("relu", {"tied": True}, "L1"),
    "TopK": ("topk", {}, "k"),
    "TopK + AuxK": ("topk", {"aux_k": 64, "dead_after": 50_000}, "k"),
    "BatchTopK": ("batch_topk", {}, "k"),
    "JumpReLU": ("jumprelu", {"threshold": 1.0, "bandwidth": 1.0}, "L0"),
    "Gated": ("gated", {}, "L1"),
    "MLP": ("mlp", {}, "L1"),
    "MLP, equal compute": ("mlp", {}, "L1"),
    "LISTA": ("lista", {"layers": 1}, "L1"),
}


def build(name: str, M: int, N: int, *, k: int = 32, seed: int = 0) -> nn.Module:
    """The encoder called `name` in ARCHITECTURES, tied to its decoder, with bias and pre-bias.

    "MLP" has the paper's hidden width N/2; "MLP, equal compute" has h = MN/(M + N), at which its two layers cost
    what one linear map costs. An MLP cannot be the decoder's transpose, so its decoder starts as the transpose of
    the encoder with the ReLUs left out, W1'W2', columns scaled to length one. Raises KeyError for another name.
    """
    kind, options, sparsity = ARCHITECTURES[name]
    options = options | {"pre_bias": True, "seed": seed}
    if kind not in ("gated", "lista"):
        options["bias"] = True
    if kind == "mlp":
        options["hidden"] = N // 2 if name == "MLP" else round(M * N / (M + N))
    if sparsity == "k":
        options["k"] = k
    model = ENCODERS[kind](M, N, **options)
    if isinstance(model, MLPEncoder):
        with torch.no_grad():
            model.decoder.D.copy_(unit_columns((model.get_parameter("W2") @ model.get_parameter("W1")).mT))
    return model


def train(
    model: nn.Module,
    x: Tensor,
    *,
    steps: int,
    stages: int = 3,
    log_at: Iterable[int] = (),
    measure: Callable[[nn.Module], dict[str, Any]] | None = None,
    keep: Iterable[int] = (),
    seed: int = 0,
    **options: Any,
) -> History:
    """`fit` on x (n, M) in `stages` of about equal length, dead latents resampled between them.

    model: stacked or single; changed in place. Dead: silent on 8192 random rows of x. Steps are counted through;
    options go to `fit`. Each stage has a checkpoint file of its own, the one given with .0, .1, .. behind it, so
    that a killed run called again ends where it would have ended. More than fits in memory: `train_stream`.
    Raises ValueError as `fit`, and unless 1 <= stages <= steps.
    """
    ends = stage_ends(steps, stages)
    log, kept, whole = set(log_at), set(keep), History()
    file = options.pop("checkpoint_file", None)
    for stage, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        inside = [s - start for s in log if start < s <= end or s == start == 0]
        part = fit(
            model,
            x,
            steps=end - start,
            log_at=sorted({*inside, end - start}),
            measure=measure,
            keep=[s - start for s in kept if start < s <= end],
            seed=seed + 1000 * stage,
            checkpoint_file=None if file is None else f"{file}.{stage}",
            **options,
        )
        _append(whole, part, start)
        if end < steps:
            rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + stage))[:PROBE]
            resample(model, x[rows.to(x.device)], seed + stage)
    return whole


def stage_ends(steps: int, stages: int) -> list[int]:
    """After how many steps each stage ends. Raises ValueError unless 1 <= stages <= steps."""
    if not 1 <= stages <= steps:
        raise ValueError(f"stages must be between 1 and steps = {steps}, not {stages}")
    return [steps * (i + 1) // stages for i in range(stages)]


def _append(whole: History, part: History, start: int) -> None:
    before = whole.flops[-1] if whole.flops else 0
    whole.steps += [start + s for s in part.steps]
    whole.flops += [before + f for f in part.flops]
    whole.loss += part.loss
    for name, values in part.measures.items():
        whole.measures.setdefault(name, []).extend(values)
    whole.checkpoints |= {start + s: state for s, state in part.checkpoints.items()}
    whole.seconds += part.seconds


@torch.no_grad()
def resample(model: Any, x: Tensor, seed: int) -> None:
    """`resample_dead` with the rows of x (n, M), for each stacked model."""
    if model.decoder.D.ndim == 2:
        resample_dead(model, x, seed=seed)
        return
    for i in range(len(model.decoder.D)):
        single = unstack(model, i)
        resample_dead(single, x, seed=seed)
        for name, parameter in model.named_parameters():
            parameter[i] = single.get_parameter(name)


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
