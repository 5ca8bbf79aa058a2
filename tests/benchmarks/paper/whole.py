"""Equal accuracy: our arms trained and evaluated whole, beside the authors' full protocol."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.kit import interval

from .protocols import ENCODERS, SPARSE_CODING, sparse_coding, train
from .race import CLOCKS, Row, exact, ratios, timed
from .setting import LOGGED, Data, accuracy, arm_name, our_scores

Accuracy = dict[str, list[float]]


def codes(D: Tensor, x: Tensor) -> Tensor:
    """Exact codes (runs, n, N) for dictionaries D (runs, M, N) and samples x (runs, n, M)."""
    return torch.stack([exact(d, samples) for d, samples in zip(D, x, strict=True)])


def measured(data: Data, experiment: str, arm: str, run: Callable[[], tuple[Tensor, Tensor]]) -> Row:
    """The accuracy of run() -> test codes, dictionaries, and its seconds."""
    found: list[tuple[Tensor, Tensor]] = []
    cpu, wall = timed(lambda: found.append(run()))
    ours = accuracy(data, experiment, *found[0])
    return {"experiment": experiment, "arm": arm, "ours": ours, "ours_cpu": cpu, "ours_wall": wall}


def encoder_arms(data: Data, experiment: str, h: int) -> list[Row]:
    """An encoder of all runs; of the SAE of E2 and E3 also exact codes in place of its own (ITO)."""
    protocol = ENCODERS[experiment, h]
    points = [protocol["steps"] * (i + 1) // LOGGED[experiment] for i in range(LOGGED[experiment])]
    past: list[Tensor] = []

    @torch.no_grad()
    def run() -> tuple[Tensor, Tensor]:
        def measure(model: Any) -> dict[str, Any]:
            D = model.decoder.D
            kept = {"D": D.detach().clone()} if h == 0 else {}
            return our_scores(data, experiment, model.encode(data.x_test), D) | kept

        with torch.enable_grad():
            model, history = train(data, experiment, h, log_at=points, measure=measure, **protocol)
        past[:] = history.measures.get("D", [])
        return model.encode(data.x_test), model.decoder.D

    @torch.no_grad()
    def infer() -> tuple[Tensor, Tensor]:
        # a given dictionary does not change, and its exact codes have no path to log
        for D in past if experiment == "E3" else past[-1:]:
            s = codes(D, data.x_test)
            our_scores(data, experiment, s, D)
        return s, D

    train(data, experiment, h, **(protocol | {"steps": 1}))  # loads the compiled kernel
    rows = [measured(data, experiment, arm_name(h), run) | {"protocol": protocol}]
    if h == 0 and experiment != "E1":
        codes(past[-1], data.x_test[:, :2])
        how = {"tol": 1e-4}
        rows.append(measured(data, experiment, "SAE+ITO", infer) | {"protocol": how})
    return rows


def sparse_coding_arm(data: Data) -> Row:
    """Dictionary and codes by block descent, the test samples' exact codes and both scores at each logged point."""

    def run() -> tuple[Tensor, Tensor]:
        found = []
        for i, seed in enumerate(data.seeds):

            def measure(D: Tensor, i: int = i) -> None:
                s = exact(D, data.x_test[i])
                our_scores(data, "E3", s[None], D[None])

            found.append(sparse_coding(data.x[i], seed, measure=measure, **SPARSE_CODING))
        D = torch.stack(found)
        return codes(D, data.x_test), D

    codes(data.D, data.x_test[:, :2])
    return measured(data, "E3", "sparse coding", run) | {"protocol": SPARSE_CODING}


def beside(rows: list[Row], theirs: dict[str, Accuracy], seconds: list[Row]) -> list[Row]:
    """The rows of our arms with their seconds (the totals of race.py), their accuracy and paired differences."""
    found = []
    for row in rows:
        key = row["experiment"], row["arm"]
        time = next(s for s in seconds if (s["experiment"], s["arm"]) == key)
        known = theirs.get(" ".join(key), {})  # none yet for an arm that full_protocol.py has not reached
        row = row | {f"theirs_{c}": time[f"theirs_{c}"] for c in CLOCKS} | {"theirs": known}
        differences = {k: interval(np.subtract(row["ours"][k], known[k]))._asdict() for k in known}
        found.append(row | {"ours_less_theirs": differences} | ratios(row))
    return found


def sums(rows: list[Row]) -> list[Row]:
    """Seconds of E1, E2, E3 and all three."""
    found = []
    for experiment in [*dict.fromkeys(r["experiment"] for r in rows), "E1-E3"]:
        here = [r for r in rows if experiment in (r["experiment"], "E1-E3")]
        total = {
            f"{who}_{c}": sum(r[f"{who}_{c}"] for r in here) for c in CLOCKS for who in ("theirs", "ours")
        }
        found.append({"experiment": experiment} | total | ratios(total))
    return found
