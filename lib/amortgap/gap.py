"""The amortisation gap, taken apart: on a synthetic problem (`decompose`) or on one real decoder.

`decompose` walks down a ladder on which each rung differs from the one above in one thing only:

    oracle                            true dictionary, the best code with at most K latents
      - L1's own bias
    converged L1                      true dictionary, the nonnegative LASSO to a certified gap
      - capacity: what no linear-nonlinear encoder can do
    L-NL ceiling                      the best s_i_hat = sigma_i(w_i.x) that a search finds, not trained (T9)
      - optimisation, limited samples and the shape of sigma
    supervised encoder                trained on the true codes
      - unsupervised training
    encoder, known dictionary         trained on reconstruction + L1
      - the dictionary's error
    encoder, learned dictionary       trained on reconstruction + L1, its decoder too
      + what better inference alone gives back
    converged L1, learned dictionary

An optimiser that has not converged adds a solver term: see the rungs of the paper's Adam.

`on_same_decoder` needs no truth, so it serves real SAEs: an encoder's codes beside solved ones, at equal sparsity.

    encoder              the codes as read off
    own support          least squares (s >= 0) on the encoder's support: what its amplitudes cost
    L1                   the nonnegative LASSO solved to a certified gap, alpha set to the encoder's mean L0
    L1 support           least squares on the L1 support: what shrinkage cost L1
    OMP                  greedy pursuit with as many atoms as the encoder's mean L0
    HEAD_ROWS            with the encoder's pre-activations: heads among its best candidates, at its own count

encoder -> own support is the amplitude part of the gap, own support -> L1 support or OMP the support part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_tensor
from amortgap.metrics import chance_mcc, mcc
from amortgap.objectives import objective
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, refit, solve
from amortgap.solvers.exhaustive import MAX_SUPPORTS
from amortgap.solvers.prepared import Prepared, prepare_for
from amortgap.theory import mcc_ceiling
from amortgap.theory.laws import LAWS

LADDER = (
    "oracle",
    "converged L1",
    "L-NL ceiling",
    "supervised encoder",
    "encoder, known dictionary",
    "encoder, learned dictionary",
    "converged L1, learned dictionary",
)

#: row -> head of `amortgap.heads`, and candidates for each latent that the encoder uses
HEAD_ROWS = {
    "leave-one-out among 1.5k": ("leave_one_out", 1.5),
    "pursuit among 1.5k": ("pursuit", 1.5),
    "pursuit among 2k": ("pursuit", 2.0),
    "pursuit among 4k": ("pursuit", 4.0),
    "adaptive among 4k": ("adaptive", 4.0),
    "LASSO among 2k": ("lasso", 2.0),
    "IHT among 2k": ("iht", 2.0),
}


@dataclass(frozen=True)
class Rung:
    """One row of the ladder, averaged over samples.

    mcc: with the true codes.  chance: the MCC of the same codes in shuffled order.
    mse: mean (x - D s)^2 over all entries;  objective: mean P(s) = 1/2 ||x - D s||^2 + alpha ||s||_1;  both on
    the rung's own dictionary. None where a number does not exist; `note` says why.
    """

    name: str
    mcc: float | None
    chance: float | None
    mse: float | None
    objective: float | None
    note: str = ""


def decompose(
    problem: SparseProblem,
    alpha: float,
    *,
    supervised: Tensor,
    known: Tensor,
    learned: Tensor,
    learned_D: Tensor,
    restarts: int = 3,
    adam_steps: int = 10_000,
    tol: float = 1e-6,
) -> list[Rung]:
    """The rungs of LADDER in order, then "paper's Adam" and "paper's Adam, learned dictionary".

    problem: samples no encoder was trained on. supervised, known, learned (n, N), all >= 0: what the three
    encoders read off problem.x; learned_D (M, N), unit columns, is the third one's decoder. restarts: of the
    ceiling's search; adam_steps: of the paper's optimiser on log-codes; tol: relative duality gap.

    The oracle looks at every support where there are at most 200 000, otherwise it is told the true one, which
    is the same for noiseless samples of a dictionary whose 2K columns are always independent.
    Raises ValueError for codes of the wrong shape or with negative entries, signed amplitudes, and as `solve`.
    """
    true_D, x = prepare_for(problem.D, problem.x)
    its_D, _ = prepare_for(learned_D, x)
    D, learned_D = true_D.D, its_D.D
    if learned_D.shape != D.shape:
        raise ValueError(f"learned_D must have shape {tuple(D.shape)}, not {tuple(learned_D.shape)}")
    if (problem.codes < 0).any():
        raise ValueError("the ladder is made for nonnegative codes, but the problem's have negative entries")
    coded = {"supervised": supervised, "known": known, "learned": learned}
    coded = {name: as_tensor(codes, name) for name, codes in coded.items()}
    for name, codes in coded.items():
        if codes.shape != problem.codes.shape or not (codes >= 0).all():
            raise ValueError(f"{name} must be nonnegative with shape {tuple(problem.codes.shape)}")

    def rung(name: str, frame: Tensor, codes: Tensor, note: str = "") -> Rung:
        s, y, atoms = codes.detach().double(), x.double(), frame.double()
        return Rung(
            name,
            mcc=float(mcc(problem.codes, s)),
            chance=float(chance_mcc(problem.codes, s, draws=5)),
            mse=float((y - s @ atoms.T).square().mean()),
            objective=float(objective(atoms, y, s, alpha).mean()),
            note=note,
        )

    exact, told = _oracle(problem, true_D)
    true, other = solve(true_D, x, alpha, tol=tol), solve(its_D, x, alpha, tol=tol)
    rows = [
        rung("oracle", D, exact, told),
        rung("converged L1", D, true.codes),
        _ceiling(problem, restarts),
        rung("supervised encoder", D, coded["supervised"]),
        rung("encoder, known dictionary", D, coded["known"]),
        rung("encoder, learned dictionary", learned_D, coded["learned"]),
        rung("converged L1, learned dictionary", learned_D, other.codes),
    ]
    for name, frame in (("paper's Adam", D), ("paper's Adam, learned dictionary", learned_D)):
        adam = solve(frame, x, alpha, method="log_adam", n_steps=adam_steps)
        rows.append(rung(name, frame, adam.codes, f"{adam_steps} steps"))
    return rows


def _oracle(problem: SparseProblem, D: Prepared) -> tuple[Tensor, str]:
    x, K = problem.x, problem.K
    largest = int((problem.codes > 0).sum(1).max())  # more than K where only the mean is K
    count = sum(math.comb(problem.N, k) for k in range(1, K + 1))
    if largest <= K <= problem.M and count <= MAX_SUPPORTS:
        return pursue(D, x, K, method="exhaustive").codes, "every support tried"
    return refit(D, x, problem.codes > 0), "told the true support"


def _ceiling(problem: SparseProblem, restarts: int) -> Rung:
    """T9 bounds correlations only: the best L-NL encoder for reconstruction is not known."""
    if problem.amplitude not in LAWS:
        return Rung("L-NL ceiling", None, None, None, None, f"no ceiling for {problem.amplitude} amplitudes")
    best = mcc_ceiling(problem.D, problem.K, problem.amplitude, problem.support, restarts)
    return Rung("L-NL ceiling", best.mcc, None, None, None, "a bound on correlations, not a code")


def on_same_decoder(
    D: Any, x: Tensor, codes: Tensor, alpha: float, *, h: Tensor | None = None, tol: float = 1e-4
) -> dict[str, Tensor]:
    """The rows of this module's table: name -> codes (n, N).

    D (M, N) unit columns, a matrix or prepared (`solvers.prepare`), x (n, M) with the decoder's bias taken off,
    codes (n, N) >= 0 from the encoder, alpha from `solvers.alpha_for` on other samples than x. h (n, N): the
    encoder's pre-activations, in whose order heads take candidates; without it their rows are left out. Raises
    ValueError as `solve`; for codes or h of the wrong shape, and for codes with negative entries.
    """
    D, x = prepare_for(D, x)
    codes = as_tensor(codes, "codes").to(x)
    h = None if h is None else as_tensor(h, "h").to(x)
    if codes.ndim != 2:
        raise ValueError(f"codes must have shape {(len(x), D.shape[1])}, not {tuple(codes.shape)}")
    k = max(1, round(float((codes > 0).sum(1).double().mean())))
    return {name: found for name, found, _ in each_row(D, x, codes, alpha, k, h=h, tol=tol)}


def each_row(
    D: Any,
    x: Tensor,
    codes: Tensor,
    alpha: float | None,
    k: int | None,
    *,
    h: Tensor | None = None,
    tol: float = 1e-4,
) -> Iterator[tuple[str, Tensor, int]]:
    """The rows one after the other, each computed when it is asked for: name, codes (n, N), operations.

    k: atoms of OMP. With None for alpha the L1 rows are left out, with None for k OMP, with None for h the heads.
    The operations of a row are its own: "encoder" has 0, because only who encoded knows, and "L1 support" leaves
    out "L1", without which it cannot start.
    """
    D, x = prepare_for(D, x)
    if codes.shape != (len(x), D.shape[1]) or (codes < 0).any():
        raise ValueError(f"codes must be nonnegative with shape {(len(x), D.shape[1])}")
    if h is not None and h.shape != codes.shape:
        raise ValueError(f"h must have the codes' shape {tuple(codes.shape)}, not {tuple(h.shape)}")
    yield "encoder", codes, 0
    yield "own support", refit(D, x, codes > 0), _least_squares(D, codes)
    if alpha is not None:
        l1 = solve(D, x, alpha, tol=tol)
        yield "L1", l1.codes, l1.flops
        yield "L1 support", refit(D, x, l1.codes > 0), _least_squares(D, l1.codes)
    if k is not None:
        greedy = pursue(D, x, k)
        yield "OMP", greedy.codes, greedy.flops
    if h is not None:
        # with the module that reads SAEs, which synthetic problems do without
        from amortgap.heads import HEADS, propose

        for name, (head, ratio) in HEAD_ROWS.items():
            proposal = propose(h, codes, ratio)
            found = HEADS[head](D, x, proposal)
            yield name, proposal.codes(found.values, D.shape[1]), found.flops


def _least_squares(D: Prepared, codes: Tensor) -> int:
    """Operations of one least-squares fit on each sample's support of size k: 2Mk + 2Mk^2 + 2k^3/3."""
    M, k = D.shape[0], (codes > 0).sum(1).double()
    return int((2 * M * k + 2 * M * k**2 + 2 * k**3 / 3).sum())


def excess_objective(
    D: Any, x: Tensor, codes: Tensor, alpha: float, *, tol: float = 1e-4, best: Tensor | None = None
) -> Tensor:
    """How far each sample's code is above the optimum of its own objective: P(codes) / P* - 1, (n,).

    The best rescaling of each code is taken first (s -> c s, c >= 0), so that an encoder trained for another
    alpha is not blamed for its scale. best (n,): P* where it is known.
    """
    given, x = prepare_for(D, x)
    codes = as_tensor(codes, "codes").to(x)
    if codes.shape != (len(x), given.shape[1]):
        raise ValueError(f"codes must have shape {(len(x), given.shape[1])}, not {tuple(codes.shape)}")
    if best is None:
        best = solve(given, x, alpha, tol=tol).objective
    x_hat = (codes @ given.D.T).double()
    gain = (x_hat * x).sum(1) - alpha * codes.sum(1)
    power = x_hat.square().sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    value = 0.5 * x.double().square().sum(1) - 0.5 * gain.clamp_min(0).square() / power
    # x = 0 has the code 0, rescaled or solved
    return torch.where(best > 0, value / best.clamp_min(torch.finfo(best.dtype).tiny) - 1, 0.0)
