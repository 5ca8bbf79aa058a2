"""python -m tests.benchmarks.paper.why: protocols that may explain published numbers which ours does not give.

E13, all numbers of the power-law experiments but those of wide MLPs: laws of the samples, and where biases start.
E6, "optimised top-k": where the codes start. E9, SAEs where M < N/2: normalisation, rate, biases. E12, the SAE of
the early runs: sum of squares as the loss, a small penalty, biases, settings chosen on the test codes.
A candidate is judged by the root mean square of (mean over dictionaries - published). The authors' public code has
had several forms of each; which of them made a number is not recorded, so the candidates are its forms and ours.
Half an hour of one core. What the output holds already is not run again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from amortgap._files import write_json
from amortgap._largest import largest
from amortgap.dictionaries import log_adam_dictionary, log_adam_top_k
from amortgap.encoders import MLPEncoder, ReLUEncoder, uniform_biases
from amortgap.encoders._decoder import Decoder
from amortgap.kit import published
from amortgap.metrics import mcc, paired_correlation
from amortgap.objectives import alpha_from_mean_loss
from amortgap.problem import SparseProblem
from amortgap.solvers import solve
from amortgap.training import fit, stack

from ..output import REPORTS, markdown, write

RUNS, SAMPLES, L1 = 5, 1024, 0.01
#: name -> law of the supports, law of the amplitudes, scale of all codes
LAWS = {
    "1/rank, amplitude 1/rank": ("zipf", "zipf-half-normal", 1.0),
    "1/rank, amplitude p = 1/(3.38 rank)": ("zipf", "zipf-half-normal", 1 / 3.3807),
    "1/rank, amplitude p + .1": ("zipf", "floored-zipf-half-normal", 1.0),
    "1/rank, equal amplitudes": ("zipf", "half-normal", 1.0),
    "equally frequent, amplitude p + .1": ("exactly-k", "floored-zipf-half-normal", 1.0),
}
#: law -> how encoders are set up: where biases start (known codes), and what of a learned D is normalised
SETUPS = {
    "1/rank, amplitude 1/rank": ("zero", "uniform"),
    "1/rank, amplitude p = 1/(3.38 rank)": ("zero", "uniform"),
    "1/rank, amplitude p + .1": ("zero", "uniform", "uniform, rows"),
    "1/rank, equal amplitudes": ("zero", "uniform"),
    "equally frequent, amplitude p + .1": ("uniform",),
}
#: name -> learning rate, rows of D normalised in place of columns, biases
GRID = {
    "columns, rate 1e-3": (1e-3, False, False),
    "rows, rate 1e-3": (1e-3, True, False),
    "columns, rate 3e-4": (3e-4, False, False),
    "columns, rate 1e-3, biases": (1e-3, False, True),
}
CELLS = ((64, 8, 3), (32, 8, 3))
Row = dict[str, Any]


class RowDecoder(Decoder):
    """Its rows have length one, so its columns about sqrt(M / N)."""

    @torch.no_grad()
    def normalise_(self) -> None:
        self.D.div_(torch.linalg.vector_norm(self.D, dim=-1, keepdim=True))


def row_decoder(model: Any) -> None:
    model.decoder.__class__ = RowDecoder
    model.decoder.normalise_()


def drawn(N: int, M: int, K: int, runs: int, law: tuple[str, str, float]) -> tuple[Tensor, ...]:
    """D, and x and codes for training and for testing, all with the dictionaries first."""
    support, amplitude, scale = law
    given = {"support": support, "amplitude": amplitude}
    problems = [SparseProblem(N, M, K, n=SAMPLES, seed=seed, **given) for seed in range(runs)]
    tests = [p.sample(SAMPLES, seed=1000 + p.seed) for p in problems]
    D = torch.stack([p.D for p in problems])
    parts = (
        torch.stack([getattr(p, k) for p in ps]) * scale for ps in (problems, tests) for k in ("x", "codes")
    )
    return D, *parts


def power_law(name: str, setup: str) -> dict[str, list[float]]:
    """Key of a published number -> ours, one a dictionary."""
    N, M, K = 16, 8, 3
    D, x, codes, x_test, codes_test = drawn(N, M, K, RUNS, LAWS[name])
    alpha, found = alpha_from_mean_loss(L1, M, N), {}
    score = {1: paired_correlation, 2: mcc, 3: mcc}
    keys = {
        (1, 0): "E13.1",
        (1, 32): "E13.2",
        (2, 0): "E13.5",
        (2, 32): "E13.7",
        (3, 0): "E13.9",
        (3, 32): "E13.12",
    }
    for (experiment, h), key in keys.items():
        kind: Any = partial(MLPEncoder, hidden=h) if h else ReLUEncoder
        known = list(D) if experiment == 2 else [None] * RUNS
        models = [kind(M, N, D=d, bias=experiment == 1, seed=100 + i) for i, d in enumerate(known)]
        for i, one in enumerate(models):
            if experiment == 1 and setup != "zero":
                uniform_biases(one, i)
            if experiment == 3 and setup == "uniform, rows":
                row_decoder(one)
        model: Any = stack(models)
        loss: dict[str, Any] = {"codes": codes} if experiment == 1 else {"l1_weight": L1}
        fit(model, x, steps=40_000 if experiment == 3 else 20_000, label=key, **loss)
        with torch.no_grad():
            found[key] = score[experiment](codes_test, model.encode(x_test)).tolist()
        if (experiment, h) == (3, 0):
            found["E13.10"] = by_adam(model.decoder.D.detach(), x_test, codes_test, alpha, 10_000, 3e-3)
    found["E13.6"] = by_adam(D, x_test, codes_test, alpha, 20_000, 1e-3)
    learned, _ = log_adam_dictionary(x, N, seeds=list(range(100, 100 + RUNS)), steps=40_000, l1_weight=L1)
    found["E13.11"] = by_adam(learned, x_test, codes_test, alpha, 10_000, 3e-3)
    return found


def by_adam(D: Tensor, x: Tensor, codes: Tensor, alpha: float, n_steps: int, lr: float) -> list[float]:
    """MCC of the paper's codes on each dictionary."""
    pairs = zip(D, x, codes, strict=True)
    return [mcc(s, solve(d, y, alpha, "log_adam", n_steps=n_steps, lr=lr).codes).item() for d, y, s in pairs]


def top_k(start: str) -> dict[str, list[float]]:
    """Sparse coding of which k codes count, 5000 steps, then 5000 on the test samples."""
    _, x, _, x_test, codes_test = drawn(16, 8, 3, 3, ("exactly-k", "half-normal", 1.0))
    blank, _ = log_adam_dictionary(x, 16, seeds=[0, 1, 2], steps=0)
    found = {}
    for key, k in (("E6.19", 3), ("E6.21", 5), ("E6.23", 10)):
        if start == "equal logarithms":
            D, _ = log_adam_top_k(x, blank, k, learned=True, steps=5000)
            s = log_adam_top_k(x_test, D, k, learned=False, steps=5000)[1]
        else:
            D, _ = relu_top_k(x, blank, k, 5000, learned=True)
            s = relu_top_k(x_test, D, k, 5000, learned=False)[1]
        found[key] = mcc(codes_test, s).tolist()
    return found


def relu_top_k(x: Tensor, D: Tensor, k: int, steps: int, learned: bool) -> tuple[Tensor, Tensor]:
    """Adam on mean (x - D s)^2, s = the k largest of relu(l), l standard normal at the start."""
    logs = nn.Parameter(torch.randn(*x.shape[:2], D.shape[2], generator=torch.Generator().manual_seed(0)))
    D = nn.Parameter(D.clone(), requires_grad=learned)
    adam = torch.optim.Adam([logs, D] if learned else [logs], lr=3e-3, fused=True)
    for _ in range(steps):
        adam.zero_grad()
        (x - largest(torch.relu(logs), k) @ D.mT).square().mean((1, 2)).sum().backward()
        adam.step()
        if learned:
            D.data /= torch.linalg.vector_norm(D.data, dim=1, keepdim=True)
    return D.detach(), largest(torch.relu(logs.detach()), k)


def grid(name: str) -> dict[str, list[float]]:
    lr, rows, bias = GRID[name]
    keys = published(experiment="E9", method="SAE", quantity="mcc")
    found, runs = {}, 3
    for N, M, K in CELLS:
        _, x, _, x_test, codes_test = drawn(N, M, K, runs, ("exactly-k", "half-normal", 1.0))
        models = [ReLUEncoder(M, N, bias=bias, seed=100 + i) for i in range(runs)]
        for i, one in enumerate(models):
            if bias:
                uniform_biases(one, i)
            if rows:
                row_decoder(one)
        model: Any = stack(models)
        fit(model, x, steps=50_000, lr=lr, label=f"{N}, {M}, {K}")
        key = keys[(keys[["N", "M", "K"]] == [N, M, K]).all(axis=1)].index[0]
        with torch.no_grad():
            found[key] = mcc(codes_test, model.encode(x_test)).tolist()
    return found


def early(name: str) -> dict[str, list[float]]:
    """The SAE by the sum of squares + l1 sum |s|, with biases: 9 settings, the best of them by the test MCC."""
    N, M, K, n = 16, 8, 3, 819
    _, x, _, x_test, codes_test = drawn(N, M, K, RUNS, ("exactly-k", "half-normal", 1.0))
    x, x_test, codes_test = x[:, :n], x_test[:, : 1024 - n], codes_test[:, : 1024 - n]
    weights, scores = (1e-5, 1e-4, 1e-3), []
    for lr in (1e-4, 1e-3, 1e-2):
        models = [ReLUEncoder(M, N, bias=True, seed=100 + i) for i in range(RUNS) for _ in weights]
        for i, one in enumerate(models):
            uniform_biases(one, i // len(weights))
        model: Any = stack(models)
        # the sums over n samples are n M and n N times the means, and Adam takes no notice of the common factor
        given = torch.tensor(weights * RUNS) * N / M
        fit(
            model,
            x.repeat_interleave(len(weights), 0),
            steps=20_000,
            lr=lr,
            l1_weight=given,
            label=f"rate {lr:g}",
        )
        with torch.no_grad():
            s = model.encode(x_test.repeat_interleave(len(weights), 0))
        scores.append(mcc(codes_test.repeat_interleave(len(weights), 0), s).view(RUNS, -1))
    every = torch.cat(scores, 1)
    return {"E12.3": (every.amax(1) if name.startswith("best") else every.mean(1)).tolist()}


def tries() -> Iterator[tuple[str, str, Callable[[], dict[str, list[float]]]]]:
    for law, setups in SETUPS.items():
        for setup in setups:
            yield "E13", f"{law}; biases start {setup}", partial(power_law, law, setup)
    for start in ("equal logarithms", "relu of normal numbers"):
        yield "E6", start, partial(top_k, start)
    for name in GRID:
        yield "E9", name, partial(grid, name)
    for name in ("best of nine settings by test MCC", "mean of nine settings"):
        yield "E12", name, partial(early, name)


def table(rows: list[Row]) -> str:
    """For each experiment the candidates, best first, with each number beside the published one."""
    text = ""
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        here = sorted((r for r in rows if r["experiment"] == experiment), key=lambda r: r["rms"])
        keys = list(here[0]["ours"])
        cells = [
            [
                r["candidate"],
                f"{r['rms']:.3f}",
                *(f"{sum(r['ours'][k]) / len(r['ours'][k]):.3f}" for k in keys),
            ]
            for r in here
        ]
        cells.append(["published", "", *(f"{here[0]['published'][k]:.3f}" for k in keys)])
        text += f"## {experiment}\n\n" + markdown(["candidate", "root mean square", *keys], cells) + "\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPORTS / "paper_why.json")
    parser.add_argument("--only", nargs="*", default=["E13", "E6", "E9", "E12"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = json.loads(options.out.read_text()) if options.out.exists() else []
    done, numbers = {(r["experiment"], r["candidate"]) for r in rows}, published().value
    for experiment, name, run in tqdm(list(tries()), desc="candidates", file=sys.stderr, delay=2):
        if experiment not in options.only or (experiment, name) in done:
            continue
        ours = run()
        theirs = {key: float(numbers[key]) for key in ours}
        squares = [(sum(v) / len(v) - theirs[key]) ** 2 for key, v in ours.items()]
        rms = (sum(squares) / len(squares)) ** 0.5
        rows.append(
            {"experiment": experiment, "candidate": name, "rms": rms, "ours": ours, "published": theirs}
        )
        write_json(options.out, rows)
    write(options.out, rows, table(rows))


if __name__ == "__main__":
    main()
