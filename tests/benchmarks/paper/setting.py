"""The paper's three synthetic experiments: sizes, data, starts and scores."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from amortgap.encoders import MLPEncoder, ReLUEncoder
from amortgap.metrics import dictionary_mcc, mcc, paired_correlation
from amortgap.objectives import alpha_from_mean_loss
from amortgap.problem import SparseProblem

M, N, RUNS, LOG_EVERY, L1 = 8, 16, 5, 500, 0.01
STEPS = {"E1": 20_000, "E2": 20_000, "E3": 40_000}
LOGGED = {experiment: steps // LOG_EVERY for experiment, steps in STEPS.items()}
WIDTHS = {"E1": (0, 32, 256, 1024), "E2": (0, 32, 256), "E3": (0, 32, 256)}  # hidden units; 0: the SAE
ALPHA = alpha_from_mean_loss(L1, M, N)


class Data:
    """One problem a run: training and test samples, codes and dictionaries, (runs, ., .)."""

    def __init__(self, seeds: range = range(RUNS)) -> None:
        self.seeds = seeds
        problems = [SparseProblem(N, M, 3, seed=seed) for seed in seeds]
        tests = [p.sample(1024, seed=1000 + seed) for seed, p in zip(seeds, problems, strict=True)]
        self.x, self.codes, self.D = (
            torch.stack([getattr(p, k) for p in problems]) for k in ("x", "codes", "D")
        )
        self.x_test, self.codes_test = (torch.stack([getattr(t, k) for t in tests]) for k in ("x", "codes"))


def arm_name(h: int) -> str:
    return f"MLP {h}" if h else "SAE"


def starts(data: Data, experiment: str, h: int) -> list[Any]:
    """One untrained encoder a run; seed and dictionary are the run's."""
    make = partial(MLPEncoder, hidden=h) if h else ReLUEncoder
    return [
        make(M, N, bias=experiment == "E1", seed=seed, D=D if experiment == "E2" else None)
        for seed, D in zip(data.seeds, data.D, strict=True)
    ]


def supervision(data: Data, experiment: str) -> Tensor | None:
    """The codes that training is given: those of E1."""
    return data.codes if experiment == "E1" else None


def our_scores(data: Data, experiment: str, s: Tensor, D: Tensor) -> dict[str, Tensor]:
    """What is logged, one value a run, of test codes s (runs, n, N) and dictionaries D (runs, M, N)."""
    if experiment == "E1":
        return {"mcc": paired_correlation(data.codes_test, s)}
    if experiment == "E2":
        return {"mcc": mcc(data.codes_test, s)}
    return {"mcc": mcc(data.codes_test, s), "dictionary_mcc": dictionary_mcc(data.D, D)}


def accuracy(data: Data, experiment: str, s: Tensor, D: Tensor) -> dict[str, list[float]]:
    """The scores and what training minimises, on the test samples, a list over the runs each.

    criterion: minus the mean cosine of a latent in E1, mean (x - D s)^2 + lambda mean |s| otherwise.
    """
    if experiment == "E1":
        criterion = -cosine_similarity(s, data.codes_test, dim=-2).mean(-1)
    else:
        criterion = (data.x_test - s @ D.mT).square().mean((-2, -1)) + L1 * s.abs().mean((-2, -1))
    return {k: v.tolist() for k, v in {"criterion": criterion, **our_scores(data, experiment, s, D)}.items()}
