"""python -m amortgap.bench_paper: our training, metric and inference beside a re-creation of the paper's loop.

The paper's experiments with known codes (E1), known dictionary (E2) and neither (E3): 5 runs of every encoder, 1024
samples, full batch; arXiv 2411.13117, section 4. Theirs, as their public code works: one model at a time, a torch
module, autograd, torch.optim.Adam, a normalised decoder before each forward pass, a correlation a latent pair in a
Python loop, and 10 000 Adam steps on log-codes at each logged point of E3 (20 000 in all in E2) for inference.
Ours: amortgap.training.fit on the 5 runs as one stack, metrics.mcc, and an exact solve in place of Adam.

Both start at the same weights on the same data, so the MCC after the same few steps must agree; it stands beside
the times (for inference: their full number of steps against the optimum). Each part (a step, an evaluation, an
inference) is measured by itself, ours and theirs interleaved, medians of processor and of wall time. Whole
experiments are parts times the paper's counts, scaled up linearly by the factor printed. Theirs run on one thread,
where torch is faster on models this small than with its default; so do ours, unless --threads gives our training
more. Where the paper leaves a choice it is theirs that gains: a logged point every 500 steps (the last in E3 is
39 501) and numpy's correlation in the metric.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from amortgap.bench import machine, save
from amortgap.dictionaries import log_adam_dictionary
from amortgap.encoders import MLPEncoder, ReLUEncoder
from amortgap.metrics import dictionary_mcc, mcc, paired_correlation
from amortgap.objectives import alpha_from_mean_loss
from amortgap.problem import SparseProblem, unit_columns
from amortgap.solvers import solve
from amortgap.training import fit, stack

M, N, RUNS, LOG_EVERY, L1 = 8, 16, 5, 500, 0.01
STEPS = {"E1": 20_000, "E2": 20_000, "E3": 40_000}
WIDTHS = {"E1": (0, 32, 256, 1024), "E2": (0, 32, 256), "E3": (0, 32, 256)}  # hidden units; 0: the SAE
ALPHA = alpha_from_mean_loss(L1, M, N)
Clocks = tuple[float, float]  # seconds of processor time, of wall time
WHO, CLOCKS = ("theirs", "ours"), ("cpu", "wall")
KEYS = [f"{who}_{clock}" for who in WHO for clock in CLOCKS]


class TheirModel(nn.Module):
    """Encoder of linear layers and ReLU, linear decoder; the weights are copied from one of ours."""

    def __init__(self, start: Any) -> None:
        super().__init__()
        names = ["W"] if isinstance(start, ReLUEncoder) else ["W1", "W2"]
        layers: list[nn.Module] = []
        for name in names:
            weight, bias = getattr(start, name), getattr(start, "b" + name[1:])
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
            layer.weight.data.copy_(weight.data)
            if bias is not None:
                layer.bias.data.copy_(bias.data)
            layers += [layer, nn.ReLU()]
        self.encoder, self.decoder = nn.Sequential(*layers), nn.Linear(N, M, bias=False)
        self.decoder.weight.data.copy_(start.decoder.D.data)
        self.decoder.weight.requires_grad_(start.decoder.learned)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.decoder.weight.requires_grad:
            self.decoder.weight.data = normalize(self.decoder.weight.data, dim=0)
        s = self.encoder(x)
        return s, self.decoder(s)


def their_training(model: TheirModel, x: Tensor, codes: Tensor | None, steps: int) -> None:
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        s, x_hat = model(x)
        if codes is None:
            loss = ((x_hat - x) ** 2).mean() + L1 * s.abs().mean()
        else:
            loss = -cosine_similarity(s, codes, dim=0).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()


def their_codes(D: Tensor, x: Tensor, steps: int, lr: float = 3e-3, learned: bool = False) -> Tensor:
    """Adam on log-codes, and on D in sparse coding (lr 1e-3), which changes in place."""
    logs = nn.Parameter(torch.full((len(x), N), -10.0))
    weight = nn.Parameter(D, requires_grad=learned)
    adam = torch.optim.Adam([logs, weight] if learned else [logs], lr=lr)
    for _ in range(steps):
        if learned:
            weight.data = normalize(weight.data, dim=0)
        s = torch.exp(logs)
        loss = ((s @ weight.T - x) ** 2).mean() + L1 * s.abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    D.copy_(normalize(weight.data, dim=0))
    return torch.exp(logs).detach()


def their_mcc(s: Tensor, s_hat: Tensor, match: bool = True) -> float:
    a, b = s.numpy().T, s_hat.detach().numpy().T
    scores = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)) if match else [i]:
            scores[i, j] = np.corrcoef(a[i], b[j])[0, 1] if b[j].std() > 1e-6 else 0.0
    if not match:
        return float(scores.diagonal().mean())
    return float(abs(scores)[linear_sum_assignment(abs(scores), maximize=True)].mean())


def timed(run: Callable[[], Any], count: float, threads: int) -> Clocks:
    torch.set_num_threads(threads)
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count


def race(
    theirs: Callable[[], Any],
    ours: Callable[[], Any],
    counts: tuple[float, float],
    repeats: int,
    threads: int = 1,
) -> dict[str, float]:
    """Seconds a unit of theirs (1 thread) and ours: medians of interleaved repeats, a first one left out."""
    pairs = [(timed(theirs, counts[0], 1), timed(ours, counts[1], threads)) for _ in range(repeats + 1)]
    return {
        f"{who}_{clock}": median(pair[k][i] for pair in pairs[1:])
        for k, who in enumerate(WHO)
        for i, clock in enumerate(CLOCKS)
    }


class Data:
    """One problem a run: training and test samples, codes and dictionaries, (RUNS, ., .)."""

    def __init__(self) -> None:
        problems = [SparseProblem(N, M, 3, seed=seed) for seed in range(RUNS)]
        tests = [p.sample(1024, seed=1000 + i) for i, p in enumerate(problems)]
        self.x, self.codes, self.D = (
            torch.stack([getattr(p, k) for p in problems]) for k in ("x", "codes", "D")
        )
        self.x_test, self.codes_test = (torch.stack([getattr(t, k) for t in tests]) for k in ("x", "codes"))


def our_scores(data: Data, experiment: str, s: Tensor, D: Tensor) -> Tensor:
    if experiment == "E1":
        return paired_correlation(data.codes_test, s)
    if experiment == "E3":
        dictionary_mcc(data.D, D)
    return mcc(data.codes_test, s)


def their_score(data: Data, experiment: str, s: Tensor, D: Tensor) -> float:
    if experiment == "E3":
        their_mcc(data.D[0], D)
    return their_mcc(data.codes_test[0], s, match=experiment != "E1")


def encoder_parts(
    data: Data, experiment: str, h: int, steps: int, repeats: int, threads: int
) -> list[dict[str, Any]]:
    """A training step and an evaluation of one encoder: ours for all runs at once, theirs for the first."""
    make = partial(MLPEncoder, hidden=h) if h else ReLUEncoder
    known = experiment == "E2"
    starts: list[Any] = [
        make(M, N, bias=experiment == "E1", seed=i, D=data.D[i] if known else None) for i in range(RUNS)
    ]
    codes = data.codes if experiment == "E1" else None
    many = steps * (
        10 if h <= 32 else 1
    )  # ours has a set-up of milliseconds that the paper's steps would hide

    def theirs() -> TheirModel:
        model = TheirModel(starts[0])
        their_training(model, data.x[0], None if codes is None else codes[0], steps)
        return model

    def ours(n: int) -> Any:
        model = stack(starts)
        fit(model, data.x, codes=codes, steps=n, l1_weight=L1)
        return model

    @torch.no_grad()
    def our_evaluation(model: Any) -> Tensor:
        return our_scores(data, experiment, model.encode(data.x_test), model.decoder.D)

    @torch.no_grad()
    def their_evaluation(model: TheirModel) -> float:
        return their_score(data, experiment, model(data.x_test[0])[0], model.decoder.weight)

    a, b = theirs(), ours(steps)
    agree = {"their_mcc": their_evaluation(a), "our_mcc": float(our_evaluation(b)[0])}
    row = {"experiment": experiment, "arm": f"MLP {h}" if h else "SAE"}
    count, points = RUNS * STEPS[experiment], RUNS * STEPS[experiment] // LOG_EVERY
    step = race(theirs, partial(ours, many), (steps, RUNS * many), repeats, threads)
    score = race(partial(their_evaluation, a), partial(our_evaluation, b), (1, RUNS), repeats)
    return [
        row | {"part": "step", "count": count, "scale": count / steps} | step | agree,
        row | {"part": "evaluation", "count": points, "scale": points} | score,
    ]


def code_parts(data: Data, steps: int, repeats: int, threads: int) -> list[dict[str, Any]]:
    """Sparse coding, and Adam on log-codes against an exact solve for the test samples of one run."""
    seeds = list(range(RUNS))
    start = unit_columns(torch.randn(M, N, generator=torch.Generator().manual_seed(0)))
    D0, x0, points = data.D[0], data.x_test[0], STEPS["E3"] // LOG_EVERY

    def learn() -> Tensor:
        D = start.clone()
        their_codes(D, data.x[0], steps, lr=1e-3, learned=True)
        return D

    def ours(n: int) -> Tensor:
        return log_adam_dictionary(data.x, N, seeds=seeds, steps=n, l1_weight=L1)[0]

    def exact(D: Tensor) -> Tensor:
        return solve(D, x0, ALPHA, tol=1e-4).codes

    scores = [float(mcc(data.codes_test[0], exact(D))) for D in (learn(), ours(steps)[0])]
    step = race(learn, partial(ours, 20 * steps), (steps, RUNS * 20 * steps), repeats, threads)
    rows = [
        {"experiment": "E3", "arm": "sparse coding", "part": "step", "count": RUNS * STEPS["E3"]}
        | {"scale": RUNS * STEPS["E3"] / steps, **step}
        | dict(zip(("their_mcc", "our_mcc"), scores, strict=True))
    ]
    infer = partial(their_codes, D0, x0, steps)
    # E2 runs Adam once to its end; E3 anew at each logged point, for SAE+ITO and for sparse coding
    for experiment, arm, n_steps, count, lr in (
        ("E2", "SAE+ITO", 20_000, RUNS, 1e-3),
        ("E3", "SAE+ITO", 10_000, RUNS * points, 3e-3),
        ("E3", "sparse coding", 10_000, RUNS * points, 3e-3),
    ):
        full = solve(D0, x0, ALPHA, "log_adam", n_steps=n_steps, lr=lr).codes  # their steps, all of them
        agree = {"their_mcc": mcc(data.codes_test[0], full), "our_mcc": mcc(data.codes_test[0], exact(D0))}
        row = {"experiment": experiment, "arm": arm, "part": "inference", "count": count}
        row |= {"scale": count * n_steps / steps, **{k: float(v) for k, v in agree.items()}}
        rows.append(row | race(infer, partial(exact, D0), (steps / n_steps, 1), repeats))
        score = race(
            partial(their_score, data, experiment, full, D0),
            partial(our_scores, data, experiment, data.codes_test, data.D),
            (1, RUNS),
            repeats,
        )
        at = RUNS * STEPS[experiment] // LOG_EVERY
        rows.append(
            {"experiment": experiment, "arm": arm, "part": "evaluation", "count": at, "scale": at} | score
        )
    return rows


def totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds of whole experiments, arm by arm: parts x counts, with the ratios theirs / ours."""
    found = []
    for experiment in [*dict.fromkeys(r["experiment"] for r in rows), "E1-E3"]:
        here = [r for r in rows if experiment in (r["experiment"], "E1-E3")]
        for arm in [*dict.fromkeys(r["arm"] for r in here if experiment != "E1-E3"), "all"]:
            part = [r for r in here if arm in ("all", r["arm"])]
            sums = {k: sum(r[k] * r["count"] for r in part) for k in KEYS}
            ratios = {f"ratio_{c}": sums[f"theirs_{c}"] / sums[f"ours_{c}"] for c in CLOCKS}
            found.append({"experiment": experiment, "arm": arm} | sums | ratios)
    return found


def table(rows: list[dict[str, Any]], sums: list[dict[str, Any]]) -> str:
    """Both tables in Markdown: totals in seconds, parts in microseconds."""
    times = "theirs, CPU | ours, CPU | ratio | theirs, wall | ours, wall | ratio |"
    lines = [f"Whole experiments, scaled up, seconds\n\n| experiment | arm | {times}", "|" + "---|" * 8]
    for r in sums:
        cells = [f"{r[f'{k}_{c}']:.4g}" for c in CLOCKS for k in (*WHO, "ratio")]
        lines.append(f"| {r['experiment']} | {r['arm']} | {' | '.join(cells)} |")
    lines.append(
        "\nParts, microseconds a model\n\n| experiment | arm | part | times in the paper | scaled up by |"
    )
    lines[-1] += f" {times} MCC, theirs | MCC, ours |"
    lines.append("|" + "---|" * 13)
    for r in rows:
        cells = []
        for c in CLOCKS:
            a, b = r[f"theirs_{c}"], r[f"ours_{c}"]
            cells += [f"{a * 1e6:.4g}", f"{b * 1e6:.4g}", f"{a / b:.3g}"]
        cells += [f"{r[k]:.4f}" if k in r else "" for k in ("their_mcc", "our_mcc")]
        name = f"| {r['experiment']} | {r['arm']} | {r['part']} | {r['count']} | {r['scale']:.4g} |"
        lines.append(f"{name} {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200, help="steps measured of theirs (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of our training (default 1)")
    parser.add_argument(
        "--widths", type=int, nargs="*", default=[0, 32, 256, 1024], help="hidden units; 0 is the SAE"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports/bench/paper.json"), help="a .md goes beside it"
    )
    options = parser.parse_args()
    if min(options.steps, options.repeats, options.threads) < 1:
        parser.error("--steps, --repeats and --threads must be at least 1")
    torch.manual_seed(0)
    data, rows = Data(), []
    for experiment, widths in WIDTHS.items():
        for h in widths:
            if h in options.widths:
                rows += encoder_parts(data, experiment, h, options.steps, options.repeats, options.threads)
                print(experiment, rows[-2]["arm"], "measured", flush=True)
    rows += code_parts(data, options.steps, options.repeats, options.threads)
    sums = totals(rows)
    about = {
        "machine": machine(),
        "torch": torch.__version__,
        "steps": options.steps,
        "repeats": options.repeats,
        "threads": options.threads,
    }
    save(
        options.out.with_suffix(".json"), json.dumps(about | {"totals": sums, "parts": rows}, indent=1) + "\n"
    )
    save(options.out.with_suffix(".md"), f"{machine()}, torch {torch.__version__}\n\n{table(rows, sums)}")
    print(table(rows, sums))


if __name__ == "__main__":
    main()
