"""Claims found again from a report's data files alone: `python -m tests.recompute reports/paper`.

Nothing of amortgap is imported. A recipe says which numbers of which tables a claim is about; the rule of the
claims page is written down once more here, with scipy. What differs from the stored claim is printed.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ROOT = Path(__file__).parents[1]
Rows = list[dict[str, Any]]
Vector = dict[int, float]  # dictionary -> value
SAE, FED, ITO, L1 = "SAE", "SAE, 32768 samples", "ITO (paper's Adam)", "converged L1"


class Ends(NamedTuple):
    """An interval that decides as it is."""

    ours: float
    low: float
    high: float
    n: int


class Found(NamedTuple):
    """What a claim is about, found from tables."""

    values: Any  # independent values, one exact number, or `Ends`
    paper: float | str | None = None
    against: float | None = None
    scale: str = "plain"
    cause: bool = False  # the page shows why the paper's number is off
    mean_only: bool = False  # the values are no dictionaries, so that the interval is that of their mean
    comparable: bool = True  # with the paper's number


Recipe = Callable[["Tables"], Found]
RECIPES: dict[str, tuple[str, Recipe]] = {}


def recipe(page: str, name: str) -> Callable[[Recipe], Recipe]:
    def keep(how: Recipe) -> Recipe:
        RECIPES[name] = page, how
        return how

    return keep


class Tables:
    """The tables of one page by name, each a list of rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, Rows] = {}

    def __getitem__(self, name: str) -> Rows:
        if name not in self.known:
            table = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            self.known[name] = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        return self.known[name]

    def pick(self, table: str, column: str, **where: Any) -> Vector:
        """The values of a column, by dictionary, in the rows in which other columns have these values."""
        rows = [row for row in self[table] if all(row[name] == value for name, value in where.items())]
        found = {row["dictionary"]: row[column] for row in rows if row[column] is not None}
        assert len(found) == len(rows), f"{table}: {where} is not one row a dictionary"
        return found


@cache
def published() -> dict[str, dict[str, str]]:
    with (ROOT / "notebooks" / "published.csv").open(encoding="utf-8") as file:
        return {row["key"]: row for row in csv.DictReader(line for line in file if not line.startswith("#"))}


def number(key: str) -> float:
    return float(published()[key]["value"])


def numbers(**which: Any) -> list[dict[str, str]]:
    rows = published().values()
    return [row for row in rows if all(row[column] == value for column, value in which.items())]


def minus(a: Vector, b: Vector) -> list[float]:
    assert a.keys() == b.keys(), (a.keys(), b.keys())
    return [a[d] - b[d] for d in a]


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def difference(values: Any, paper: float) -> Found:
    """A published difference: its size, or its side where one more dictionary cannot tell it from none."""
    sized = Found(values, paper, 0.0)
    told = judged(sized)["verdict"] != "inconclusive"
    return sized if told else Found(values, "above" if paper > 0 else "below", 0.0)


# --- the rule -----------------------------------------------------------------------------------------------

TO = {"plain": np.asarray, "score": lambda v: np.arctanh(np.clip(v, -0.999, 0.999)), "log": np.log}
BACK = {"plain": np.asarray, "score": np.tanh, "log": np.exp}


def judged(found: Found) -> dict[str, Any]:
    """ours, low, high, n and verdict of a claim."""
    if isinstance(found.values, Ends):
        ours, low, high, _ = found.values
        return found.values._asdict() | {"verdict": _verdict(found, ours, low, high)}
    to, back, paper = TO[found.scale], BACK[found.scale], found.paper
    values = np.atleast_1d(np.asarray(found.values, dtype=float))
    n, exact = len(values), np.ndim(found.values) == 0
    one_more = isinstance(paper, float) and not found.mean_only
    z = to(values)
    half = 0.0 if exact else stats.t.ppf(0.975, n - 1) * z.std(ddof=1) * math.sqrt(one_more + 1 / n)
    ours = float(back(z.mean())) if found.scale == "log" and not exact else float(values.mean())
    low = ours if exact else min(float(back(z.mean() - half)), ours)
    high = ours if exact else max(float(back(z.mean() + half)), ours)
    return {"ours": ours, "low": low, "high": high, "n": n, "verdict": _verdict(found, ours, low, high)}


def _verdict(found: Found, ours: float, low: float, high: float) -> str:
    paper, other = found.paper, found.against
    if not found.comparable:
        return "not comparable"
    if paper is None:
        return "inconclusive" if other is not None and low <= other <= high else "beyond"
    if isinstance(paper, str):
        if low <= other <= high:
            return "inconclusive"
        agrees = (ours > other) == (paper == "above")
    else:
        to, room = TO[found.scale], 1e-3 * abs(paper) if low == high else 0.0
        holds = [to(low - room) - 1e-9 <= to(one) <= to(high + room) + 1e-9 for one in (paper, other)]
        if all(holds):
            return "inconclusive"
        agrees = holds[0]
    return "reproduced" if agrees else "corrected" if found.cause else "not reproduced"


def differences(report: Path) -> tuple[int, list[str]]:
    """How many stored claims were found again, and where they differ."""
    count, wrong = 0, []
    for page in sorted({page for page, _ in RECIPES.values()}):
        folder = report / "data" / page
        if not (folder / "claims.json").exists():
            continue
        tables = Tables(folder)
        for claim in json.loads((folder / "claims.json").read_text(encoding="utf-8")):
            if claim["id"] in RECIPES:
                count += 1
                wrong += _compared(claim, RECIPES[claim["id"]][1](tables))
    return count, wrong


def _compared(claim: dict[str, Any], found: Found) -> Iterator[str]:
    expected = judged(found) | {"paper": found.paper, "against": found.against}
    for field, value in expected.items():
        stored = claim[field]
        if isinstance(value, float) and isinstance(stored, int | float):
            # tables have nine digits
            same = math.isclose(stored, value, rel_tol=1e-6, abs_tol=1e-8)
        else:
            same = stored == value
        if not same:
            yield f"{claim['id']}: {field} is {stored}, from the tables {value}"


# --- 02: known codes ----------------------------------------------------------------------------------------


def final_of(t: Tables, method: str, column: str = "mcc") -> Vector:
    last = max(row["step"] for row in t["curves"] if row["method"] == method)
    return t.pick("curves", column, method=method, step=last)


def of_curves(key: str, method: str) -> None:
    @recipe("02_known_codes", key)
    def level(t: Tables) -> Found:
        against = 0.0 if method == SAE else number("E1.1")
        return Found([*final_of(t, method).values()], number(key), against, "score")


for one in numbers(experiment="E1"):
    of_curves(one["key"], one["method"])


@recipe("02_known_codes", "E1.5")
def well_fed(t: Tables) -> Found:
    return Found([*final_of(t, FED).values()], number("E1.1"), 0.0, "score", cause=True)


@recipe("02_known_codes", "E4.1")
def crossover(t: Tables) -> Found:
    where = [*t.pick("crossover", "crossover", axis="paper_flops").values()]
    return Found(where, number("E4.1"), next(iter(final_of(t, "MLP 32", "paper_flops").values())), "log")


# --- 03: known dictionary -----------------------------------------------------------------------------------


def method(t: Tables, name: str, column: str = "mcc") -> Vector:
    return t.pick("results", column, method=name)


def of_known(key: str, name: str) -> None:
    @recipe("03_known_dictionary", key)
    def level(t: Tables) -> Found:
        against = mean(method(t, SAE, "chance").values()) if name == SAE else number("E2.1")
        return Found([*method(t, name).values()], number(key), against, "score")


for key, name in {"E2.1": SAE, "E2.3": ITO, "E2.4": "MLP 32", "E2.5": "MLP 256"}.items():
    of_known(key, name)


@recipe("03_known_dictionary", "E2.2")
def peak(t: Tables) -> Found:
    curves: dict[int, list[float]] = {}
    for row in t["training"]:
        if row["method"] == SAE:
            curves.setdefault(row["dictionary"], []).append(row["mcc"])
    chance = mean(method(t, SAE, "chance").values())
    return Found([max(curve) for curve in curves.values()], number("E2.2"), chance, "score")


@recipe("03_known_dictionary", "E2.6")
def solved(t: Tables) -> Found:
    return Found([*method(t, L1).values()], number("E2.3"), number("E2.1"), "score", cause=True)


@recipe("03_known_dictionary", "E2.7")
def training_helps(t: Tables) -> Found:
    return Found(minus(method(t, SAE), method(t, "untrained, pinv(D) x")), "above", 0.0)


@recipe("03_known_dictionary", "E2.8")
def warm_start(t: Tables) -> Found:
    adds = mean(minus(method(t, L1), method(t, ITO)))
    return Found(minus(method(t, "ITO, warm start"), method(t, ITO)), 0.0, adds, cause=True)


# --- 04: both unknown ---------------------------------------------------------------------------------------


def unknown(t: Tables, name: str, inference: str, column: str = "mcc") -> Vector:
    return t.pick("results", column, dictionary_from=name, inference=inference)


def of_unknown(row: dict[str, str]) -> None:
    @recipe("04_both_unknown", row["key"])
    def level(t: Tables) -> Found:
        where = row["method"], row["setting"]
        if row["quantity"] == "mcc":
            chance = mean(unknown(t, *where, "chance").values())
            return Found(
                [*unknown(t, *where).values()],
                number(row["key"]),
                chance if where[0] == SAE else number("E3.1"),
                "score",
            )
        return Found(
            [*unknown(t, *where, "dict_mcc").values()], number(row["key"]), chance_dictionary(t), "score"
        )


def chance_dictionary(t: Tables) -> float:
    """Of two random dictionaries: it stands in the summary, in (m - c) / (1 - c)."""
    row = max(t["summary"], key=lambda one: abs(1 - one["dict_corrected"]))
    return float((row["dict_mcc"] - row["dict_corrected"]) / (1 - row["dict_corrected"]))


for one in numbers(experiment="E3"):
    if one["key"] != "E3.7":
        of_unknown(one)


@recipe("04_both_unknown", "E3.7")
def same_dictionary(t: Tables) -> Found:
    change = minus(unknown(t, SAE, ITO, "dict_mcc"), unknown(t, SAE, "encoder", "dict_mcc"))
    return Found(change, number("E3.7") - number("E3.6"), number("E3.8") - number("E3.6"))


@recipe("04_both_unknown", "E3.11")
def coding_leads(t: Tables) -> Found:
    lead = minus(unknown(t, "sparse coding", ITO), unknown(t, SAE, "encoder"))
    return difference(lead, number("E3.3") - number("E3.1"))


@recipe("04_both_unknown", "E3.12")
def given_back(t: Tables) -> Found:
    lost = mean(minus(unknown(t, "true dictionary", L1), unknown(t, SAE, L1)))
    return Found(minus(unknown(t, SAE, L1), unknown(t, SAE, "encoder")), "above", lost / 2, cause=True)


# --- 06: the ladder -----------------------------------------------------------------------------------------

FIRST, SQUARE = "N=16, M=8, K=3", "N=16, M=16, K=3"


def rung(t: Tables, name: str, column: str = "mcc", setting: str = FIRST) -> Vector:
    return t.pick("rungs", column, setting=setting, rung=name)


def ladder(t: Tables) -> list[str]:
    """The rungs from the oracle down; the paper's Adam stands beside them."""
    names = dict.fromkeys(row["rung"] for row in t["rungs"] if row["setting"] == FIRST)
    return [name for name in names if not name.startswith("paper's Adam")]


def of_step(i: int) -> None:
    @recipe("06_gap_taken_apart", f"G.{i}")
    def step(t: Tables) -> Found:
        above, below = ladder(t)[i - 1 : i + 1]
        lost = minus(rung(t, above), rung(t, below))
        return Found([-v for v in lost] if i == 6 else lost, None, 0.0)


for i in range(1, 7):
    of_step(i)


def of_solver(key: str, adam: str, exact: int) -> None:
    @recipe("06_gap_taken_apart", key)
    def term(t: Tables) -> Found:
        ends, best = rung(t, adam, "objective"), rung(t, ladder(t)[exact], "objective")
        return Found([ends[d] / best[d] - 1 for d in ends], None, 0.0)


of_solver("G.7", "paper's Adam", 1)
of_solver("G.8", "paper's Adam, learned dictionary", 6)


@recipe("06_gap_taken_apart", "G.9")
def control(t: Tables) -> Found:
    return Found([1 - v for v in rung(t, "L-NL ceiling", setting=SQUARE).values()], None, 0.0)


@recipe("06_gap_taken_apart", "G.10")
def control_encoder(t: Tables) -> Found:
    known = rung(t, ladder(t)[4], setting=SQUARE)
    return Found(minus(rung(t, "L-NL ceiling", setting=SQUARE), known), None, 0.0)


# --- 07: choosing sparsity ----------------------------------------------------------------------------------

MLP, CODING, ACTIVE = "MLP 32", "sparse coding", "l0_0.001"
CUT, HALF_BEST = "post hoc (paper)", "best validation MCC"


def best_lambda(t: Tables, name: str) -> Vector:
    """Test MCC at the lambda with the best validation MCC, one a dictionary."""
    rows = [row for row in t["sweep"] if row["method"] == name and row["setting"] is not None]
    found = {}
    for d in sorted({row["dictionary"] for row in rows}):
        mine = [row for row in rows if row["dictionary"] == d]
        best = max((row for row in mine if row["split"] == "validation"), key=lambda row: row["mcc"])[
            "setting"
        ]
        (found[d],) = (row["mcc"] for row in mine if row["split"] == "test" and row["setting"] == best)
    return found


def highest(name: str) -> float:
    return max(float(row["value"]) for row in numbers(experiment="E5", quantity="mcc", method=name))


def of_sweep(key: str, name: str) -> None:
    @recipe("07_choosing_sparsity", key)
    def level(t: Tables) -> Found:
        blank = mean(t.pick("sweep", "mcc", method="untrained SAE").values())
        return Found(
            [*best_lambda(t, name).values()], highest(name), blank if name == SAE else highest(SAE), "score"
        )


for key, name in {"E5.32": SAE, "E5.33": MLP, "E5.34": CODING}.items():
    of_sweep(key, name)


@recipe("07_choosing_sparsity", "E5.28")
def coding_ahead(t: Tables) -> Found:
    return difference(minus(best_lambda(t, CODING), best_lambda(t, SAE)), highest(CODING) - highest(SAE))


@recipe("07_choosing_sparsity", "E5.29")
def mlp_ahead(t: Tables) -> Found:
    return difference(minus(best_lambda(t, MLP), best_lambda(t, SAE)), highest(MLP) - highest(SAE))


@recipe("07_choosing_sparsity", "E5.31")
def below_truth(t: Tables) -> Found:
    true, learned = "true dictionary, converged codes", "converged learning and codes"
    return Found(minus(best_lambda(t, true), best_lambda(t, learned)), None, 0.0)


@recipe("07_choosing_sparsity", "E6.26")
def optimised_worse(t: Tables) -> Found:
    def error(name: str) -> Vector:
        rows = [row for row in t["cut_to_k"] if row["method"] == name and row["split"] == "test"]
        rows = [row for row in rows if row["setting"] <= 8]
        return {
            d: mean(row["mse"] for row in rows if row["dictionary"] == d)
            for d in sorted({row["dictionary"] for row in rows})
        }

    return Found(minus(error("optimised (paper)"), error("OMP")), None, 0.0)


def bias_of(t: Tables, name: str, bias: bool) -> Vector:
    return t.pick("bias", "mcc", method=name, setting=bias)


def bias_number(name: str, bias: bool) -> float:
    (row,) = numbers(experiment="E7", quantity="mcc", method=name, bias=str(bias))
    return float(row["value"])


@recipe("07_choosing_sparsity", "E7.13")
def without_bias(t: Tables) -> Found:
    theirs = mean(bias_number(m, False) - bias_number(m, True) for m in (SAE, CODING, "MLP 64"))
    methods = dict.fromkeys(row["method"] for row in t["bias"])
    gains = [minus(bias_of(t, name, False), bias_of(t, name, True)) for name in methods]
    return difference(np.mean(gains, axis=0), theirs)


def over_bias(t: Tables, name: str) -> tuple[Vector, float]:
    a, b = bias_of(t, name, True), bias_of(t, name, False)
    return {d: (a[d] + b[d]) / 2 for d in a}, (bias_number(name, True) + bias_number(name, False)) / 2


@recipe("07_choosing_sparsity", "E7.14")
def sae_over_bias(t: Tables) -> Found:
    ours, theirs = over_bias(t, SAE)
    return Found(
        [*ours.values()], theirs, mean(t.pick("sweep", "mcc", method="untrained SAE").values()), "score"
    )


@recipe("07_choosing_sparsity", "E7.15")
def coding_over_bias(t: Tables) -> Found:
    (coding, their_coding), (sae, their_sae) = over_bias(t, CODING), over_bias(t, SAE)
    return difference(minus(coding, sae), their_coding - their_sae)


def one_more(
    ours: np.ndarray, theirs: np.ndarray, statistic: Callable[[Any, Any], float]
) -> tuple[list[float], float]:
    """Of grids (dictionaries, cells): each against the mean of the others, the paper against the mean."""
    values = [statistic(one, np.delete(ours, d, axis=0).mean(0)) for d, one in enumerate(ours)]
    return values, statistic(theirs, ours.mean(0))


def side_by_side(rows: list[dict[str, str]], found: list[Vector]) -> tuple[np.ndarray, np.ndarray]:
    """Ours (dictionaries, cells), those that all cells have, and the paper's, of the numbers that were run."""
    there = [one for one in found if one]
    common = sorted(set.intersection(*(set(one) for one in there)))
    theirs = [float(row["value"]) for row, one in zip(rows, found, strict=True) if one]
    return np.array([[one[d] for one in there] for d in common]), np.array(theirs)


def distance(one: Any, rest: Any) -> float:
    return float(np.sqrt(np.mean((one - rest) ** 2)))


def slope(one: Any, rest: Any) -> float:
    return float(np.polyfit(rest, one, 1)[0])


def of_top_k(key: str, name: str, ours: str = "") -> None:
    @recipe("07_choosing_sparsity", key)
    def over_k(t: Tables) -> Found:
        values, theirs = published_over_k(t, name, ours or name)
        against = published_over_k(t, "SAE top-k", "SAE top-k")[1]
        if name == "SAE top-k":
            against = mean(t.pick("sweep", "mcc", method="untrained SAE").values())
        cause = name == OPTIMISED and not ours and explained_by_the_start(t)
        return Found(values, theirs, against, "score", cause=cause)


def published_over_k(t: Tables, name: str, ours: str) -> tuple[list[float], float]:
    """Ours by dictionary and the paper's, mean over the published k that were run."""
    rows = [row for row in numbers(experiment="E6", quantity="mcc", method=name) if not row["lambda"]]
    found = [t.pick("topk", "mcc", method=ours, setting=int(row["k"]), split="test") for row in rows]
    theirs = mean(float(row["value"]) for row, one in zip(rows, found, strict=True) if one)
    there = [one for one in found if one]
    return [mean(one[d] for one in there) for d in there[0]], theirs


def explained_by_the_start(t: Tables) -> bool:
    """Whether codes that start as relu of normal numbers score what the paper says."""
    values, theirs = published_over_k(t, OPTIMISED, FROM_RELU)
    against = published_over_k(t, "SAE top-k", "SAE top-k")[1]
    return judged(Found(values, theirs, against, "score"))["verdict"] == "reproduced"


OPTIMISED, FROM_RELU = "optimised top-k (paper)", "optimised top-k, from relu of normals"
of_top_k("E6.27", "SAE top-k")
of_top_k("E6.28", "MLP 32 top-k")
of_top_k("E6.29", OPTIMISED)
of_top_k("E6.33", OPTIMISED, FROM_RELU)


def of_curves_of_lambda(key: str, quantity: str) -> None:
    @recipe("07_choosing_sparsity", key)
    def curves(t: Tables) -> Found:
        rows = numbers(experiment="E5", quantity=quantity)
        where = [{"method": row["method"], "setting": float(row["lambda"]), "split": "test"} for row in rows]
        found = [t.pick("sweep", quantity, **one) for one in where]
        ours, theirs = side_by_side(rows, found)
        if quantity == "mse":
            ours, theirs = (np.log10(np.maximum(v, 1e-8)) for v in (ours, theirs))
        values, paper = one_more(ours, theirs, distance)
        return Found(values, paper, distance(theirs, theirs.mean()), "log")


for key, quantity in {"E5.35": "mcc", "E5.36": ACTIVE, "E5.37": "l1", "E5.38": "mse"}.items():
    of_curves_of_lambda(key, quantity)


# --- 08: size and width -------------------------------------------------------------------------------------

SIZE = ("N", "M", "K")


def in_grid(
    t: Tables, name: str, quantity: str = "mcc"
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """Ours (dictionaries, cells), the paper's cells, and their sizes."""
    found, theirs, sizes = [], [], []
    for row in numbers(experiment="E9", quantity=quantity, method=name):
        size = {column: int(row[column]) for column in SIZE}
        here = t.pick("grid", quantity, method=name, rule="λ = 0.01 on means", **size)
        if here:
            found.append([*here.values()])
            theirs.append(float(row["value"]))
            sizes.append(tuple(size.values()))
    return np.array(found).T, np.array(theirs), sizes


def blank(t: Tables, keep: Callable[[dict[str, Any]], bool]) -> float:
    rows = [row for row in t["grid"] if row["method"] == "untrained SAE" and row["rule"].startswith("λ")]
    return mean(row["mcc"] for row in rows if keep(row))


def of_grid(i: int, name: str) -> None:
    @recipe("08_size_and_width", f"E9.{120 + i}")
    def level(t: Tables) -> Found:
        ours, theirs, _ = in_grid(t, name)
        against = blank(t, lambda _: True) if name == SAE else float(in_grid(t, SAE)[1].mean())
        return Found(ours.mean(1), float(theirs.mean()), against, "score")

    @recipe("08_size_and_width", f"E9.{123 + i}")
    def dependence(t: Tables) -> Found:
        values, paper = one_more(*in_grid(t, name)[:2], slope)
        return Found(values, paper, 0.0)


for i, name in enumerate((SAE, MLP, CODING)):
    of_grid(i, name)


def of_side(key: str, low: bool) -> None:
    @recipe("08_size_and_width", key)
    def side(t: Tables) -> Found:
        ours, theirs, sizes = in_grid(t, SAE)
        there = np.array([(M < N / 2) == low for N, M, _ in sizes])
        against = blank(t, lambda row: (row["M"] < row["N"] / 2) == low)
        return Found(ours[:, there].mean(1), float(theirs[there].mean()), against, "score")


of_side("E9.128", True)
of_side("E9.129", False)


@recipe("08_size_and_width", "E9.2")
def mean_lead(t: Tables) -> Found:
    (coding, their_coding, _), (sae, their_sae, _) = in_grid(t, CODING), in_grid(t, SAE)
    return difference((coding - sae).mean(1), float((their_coding - their_sae).mean()))


@recipe("08_size_and_width", "E9.1")
def cells_ahead(t: Tables) -> Found:
    (coding, their_coding, _), (sae, their_sae, _) = in_grid(t, CODING), in_grid(t, SAE)
    return Found((coding > sae).mean(1), float((their_coding > their_sae).mean()), 0.5)


# --- 12: dictionary learning --------------------------------------------------------------------------------

SIGNED, BEST = "scikit-learn, signed", "block descent, continued"


def cell(t: Tables, name: str, column: str) -> Vector:
    return t.pick("cells", column, method=name, N=16, M=8, K=3)


def learner(t: Tables, name: str, column: str = "mcc") -> Vector:
    return t.pick("learners", column, method=name)


@recipe("12_dictionary_learning", "E10.1")
def control_codes(t: Tables) -> Found:
    return Found(
        [*cell(t, SIGNED, "mcc").values()], number("E10.1"), mean(cell(t, SIGNED, "chance").values()), "score"
    )


@recipe("12_dictionary_learning", "E10.3")
def nonnegative(t: Tables) -> Found:
    return Found(minus(cell(t, "scikit-learn, nonnegative", "mcc"), cell(t, SIGNED, "mcc")), None, 0.0)


def signed_cells(t: Tables) -> Rows:
    return [row for row in t["cell_means"] if row["method"] == SIGNED and row["paper"] is not None]


@recipe("12_dictionary_learning", "E10.4")
def control_over_cells(t: Tables) -> Found:
    rows = signed_cells(t)
    against = mean(row["chance"] - row["paper"] for row in rows)
    return Found([row["mcc"] - row["paper"] for row in rows], 0.0, against, mean_only=True)


@recipe("12_dictionary_learning", "E10.10")
def control_dictionaries(t: Tables) -> Found:
    rows = signed_cells(t)
    against = mean(row["chance_dict"] - row["paper_dict"] for row in rows)
    return Found([row["dict_mcc"] - row["paper_dict"] for row in rows], 0.0, against, mean_only=True)


@recipe("12_dictionary_learning", "E10.6")
def gain_over_control(t: Tables) -> Found:
    rows = [row for row in t["cell_means"] if row["method"] == "ours" and row["paper"] is not None]
    return Found([row["mcc"] - row["paper"] for row in rows], None, 0.0)


@recipe("12_dictionary_learning", "E10.7")
def codes_found(t: Tables) -> Found:
    return Found([*learner(t, BEST).values()], None, number("E3.3"), "score")


@recipe("12_dictionary_learning", "E10.8")
def dictionary_found(t: Tables) -> Found:
    return Found([*learner(t, BEST, "dict_mcc").values()], None, number("E3.8"), "score")


# --- 13: architectures --------------------------------------------------------------------------------------


def architecture(t: Tables, name: str, column: str = "mcc") -> Vector:
    return t.pick("results", column, architecture=name, chosen=True)


def best_of(t: Tables, names: Iterable[str]) -> Vector:
    each = [architecture(t, name) for name in names]
    return {d: max(one[d] for one in each) for d in each[0]}


def every_encoder(t: Tables) -> list[str]:
    return [name for name in dict.fromkeys(row["architecture"] for row in t["results"]) if name != CODING]


@recipe("13_architectures", "E12.5")
def coding_beats_three(t: Tables) -> Found:
    lead = minus(architecture(t, CODING), best_of(t, ("Gated", "ReLU (SAE)", "TopK")))
    return difference(lead, number("E12.1") - number("E12.2"))


@recipe("13_architectures", "E12.6")
def coding_beats_all(t: Tables) -> Found:
    return Found(minus(architecture(t, CODING), best_of(t, every_encoder(t))), None, 0.0)


@recipe("13_architectures", "E12.7")
def pursuit_adds(t: Tables) -> Found:
    each = [minus(architecture(t, name, "pursuit"), architecture(t, name)) for name in every_encoder(t)]
    return Found(np.mean(each, axis=0), None, 0.0)


# --- 09: the solver's term ----------------------------------------------------------------------------------


def excesses(t: Tables) -> list[Vector]:
    """How far the paper's Adam ends above the optimum, by case in the page's order."""
    cases = dict.fromkeys(row["case"] for row in t["solver_terms"])
    return [t.pick("solver_terms", "excess", case=case) for case in cases]


@recipe("09_solvers", "S.1")
def more_steps_at_a_lower_rate(t: Tables) -> Found:
    first, second, *_ = excesses(t)
    return Found([second[d] / first[d] for d in first], None, 1.0, "log")


@recipe("09_solvers", "S.2")
def from_the_read_out(t: Tables) -> Found:
    _, own, read_out, *_ = excesses(t)
    return Found([read_out[d] / own[d] for d in own], None, 1.0, "log")


@recipe("09_solvers", "S.3")
def above_the_optimum(t: Tables) -> Found:
    return Found([*excesses(t)[0].values()], None, 0.01, "log")


# --- 14: rare and weak latents --------------------------------------------------------------------------------

CODES, DICTIONARY, NEITHER, RARE_AND_WEAK = (
    "known codes",
    "known dictionary",
    "both unknown",
    "rare and weak",
)


def power_law(t: Tables, setting: str, name: str, law: str = RARE_AND_WEAK, column: str = "mcc") -> Vector:
    return t.pick("results", column, experiment=setting, method=name, law=law)


def power_law_number(setting: str, name: str) -> float:
    (row,) = numbers(experiment="E13", setting=setting, method=name)
    return float(row["value"])


def of_power_law(row: dict[str, str]) -> None:
    @recipe("14_rare_and_weak_latents", row["key"])
    def level(t: Tables) -> Found:
        where = row["setting"], row["method"]
        against = power_law_number(row["setting"], SAE)
        if row["method"] == SAE:
            against = mean(power_law(t, *where, column="chance").values())
        return Found([*power_law(t, *where).values()], float(row["value"]), against, "score")


for one in numbers(experiment="E13"):
    if one["method"] in (SAE, ITO):
        of_power_law(one)


def of_an_experiment(key: str, setting: str) -> None:
    @recipe("14_rare_and_weak_latents", key)
    def methods_together(t: Tables) -> Found:
        rows = numbers(experiment="E13", setting=setting)
        found = [power_law(t, setting, row["method"]) for row in rows]
        ours, theirs = side_by_side(rows, found)
        luck = np.array(
            [mean(power_law(t, setting, row["method"], column="chance").values()) for row in rows]
        )
        values, paper = one_more(ours, theirs, distance)
        return Found(values, paper, distance(theirs, luck), "log")


for i, setting in enumerate((CODES, DICTIONARY, NEITHER)):
    of_an_experiment(f"E13.{30 + i}", setting)


def of_law(key: str, setting: str, law: str, uniform: str = "") -> None:
    @recipe("14_rare_and_weak_latents", key)
    def change(t: Tables) -> Found:
        ours = minus(power_law(t, setting, SAE, law), power_law(t, setting, SAE, "uniform"))
        if not uniform:
            return Found(ours, None, 0.0)
        return difference(ours, power_law_number(setting, SAE) - number(uniform))


for i, (setting, key) in enumerate({CODES: "E1.1", NEITHER: "E3.1"}.items()):
    of_law(f"E13.{20 + i}", setting, RARE_AND_WEAK, key)
    of_law(f"E13.{22 + 2 * i}", setting, "rare")
    of_law(f"E13.{23 + 2 * i}", setting, "weak")


@recipe("14_rare_and_weak_latents", "E13.26")
def coding_leads_on_power_laws(t: Tables) -> Found:
    name = "sparse coding (paper's Adam)"
    lead = minus(power_law(t, NEITHER, name), power_law(t, NEITHER, SAE))
    return difference(lead, power_law_number(NEITHER, name) - power_law_number(NEITHER, SAE))


@recipe("14_rare_and_weak_latents", "E13.27")
def solved_on_power_laws(t: Tables) -> Found:
    optimum = [*power_law(t, DICTIONARY, L1).values()]
    return Found(optimum, number("E13.6"), power_law_number(DICTIONARY, SAE), "score")


@recipe("14_rare_and_weak_latents", "E13.28")
def harder_for_the_solver(t: Tables) -> Found:
    return Found(minus(power_law(t, DICTIONARY, L1), power_law(t, DICTIONARY, L1, "uniform")), None, 0.0)


@recipe("14_rare_and_weak_latents", "E13.33")
def narrower_gap(t: Tables) -> Found:
    solved, read = (
        minus(power_law(t, DICTIONARY, name), power_law(t, DICTIONARY, name, "uniform")) for name in (L1, SAE)
    )
    return Found(np.subtract(solved, read), None, 0.0)


@recipe("14_rare_and_weak_latents", "E13.34")
def harder_to_learn(t: Tables) -> Found:
    name = "converged learning and codes"
    return Found(minus(power_law(t, NEITHER, name), power_law(t, NEITHER, name, "uniform")), None, 0.0)


# --- 15: large scale ----------------------------------------------------------------------------------------

PAGE_15 = "15_large_scale"


def at_large(t: Tables, task: str, method: str, column: str = "mcc") -> Vector:
    return t.pick("results", column, task=task, method=method)


def of_the_wide(key: str, task: str) -> None:
    @recipe(PAGE_15, key)
    def lead(t: Tables) -> Found:
        wide, sae = (at_large(t, task, name) for name in ("MLP 256", SAE))
        on_the_same = {d: sae[d] for d in wide}
        ended = all(row["still"] for row in t["cost"] if row["task"] == task)
        return Found(minus(wide, on_the_same), "above", 0.0, comparable=ended)


for i, task in enumerate((CODES, DICTIONARY, "unknown")):
    of_the_wide(f"E14.{1 + i}", task)


def of_a_pair(key: str, first: tuple[str, str], then: tuple[str, str]) -> None:
    @recipe(PAGE_15, key)
    def lead(t: Tables) -> Found:
        return Found(minus(at_large(t, *first), at_large(t, *then)), None, 0.0)


CONVERGED_THERE = "no training", "converged L1, true dictionary"
ON_ITS_OWN = "solved on the learned dictionary", SAE
of_a_pair("E14.6", ON_ITS_OWN, ("unknown", SAE))
of_a_pair("E14.7", CONVERGED_THERE, ON_ITS_OWN)
of_a_pair("E14.9", (DICTIONARY, SAE), ("no training", "relu(pinv(D) x)"))
of_a_pair("E14.10", CONVERGED_THERE, (CODES, SAE))
of_a_pair("E14.11", ("unknown", SAE), ("no training", "random encoder"))


@recipe(PAGE_15, "E14.8")
def large_dictionary(t: Tables) -> Found:
    values = at_large(t, *ON_ITS_OWN, column="dict_mcc").values()
    return Found([*values], None, t["dictionary_chance"][0]["dict_mcc"], "score")


# --- 16: shrunken amplitudes --------------------------------------------------------------------------------


def of_shift(key: str, where: str, name: str) -> None:
    @recipe("16_shrunken_amplitudes", key)
    def shrunk(t: Tables) -> Found:
        shift = t.pick("shift", "mean", dictionary_from=where, method=name, setting=0.01)
        return Found([*shift.values()], "above" if key != "E15.8" else None, 0.0)


def of_refit(key: str, where: str, name: str) -> None:
    @recipe("16_shrunken_amplitudes", key)
    def gain(t: Tables) -> Found:
        what = {"dictionary_from": where, "method": name, "setting": 0.01}
        after, before = (
            t.pick("results", "mcc", stage=stage, **what) for stage in ("amplitudes refitted", "as found")
        )
        return Found(minus(after, before), "above" if key != "E15.9" else None, 0.0)


of_shift("E15.1", "learned dictionary", SAE)
of_shift("E15.2", "learned dictionary", MLP)
of_shift("E15.3", "true dictionary", SAE)
of_shift("E15.4", "true dictionary", MLP)
of_shift("E15.8", "true dictionary", L1)
of_refit("E15.5", "learned dictionary", SAE)
of_refit("E15.6", "true dictionary", SAE)
of_refit("E15.9", "true dictionary", L1)


# --- 18: compute-optimal inference --------------------------------------------------------------------------


def champion(t: Tables, task: str, family: str, named: str = "") -> tuple[Vector, Rows]:
    """MCC by dictionary, and the rows, of the setting with the best mean validation MCC, of ties the cheapest."""
    counts: dict[tuple[str, int], int] = {}
    settings: dict[tuple[str, int], Rows] = {}
    for row in [*t["encoders"], *t["solvers"]]:
        if (row["task"], row["family"]) == (task, family) and named in row["method"]:
            # a method's settings stand in one order for every dictionary
            which = row["method"], row["dictionary"]
            counts[which] = counts.get(which, -1) + 1
            settings.setdefault((row["method"], counts[which]), []).append(row)
    best = max(settings.values(), key=lambda rows: (of_rows(rows, "validation"), -of_rows(rows, "inference")))
    return {row["dictionary"]: row["mcc"] for row in best}, best


def of_rows(rows: Rows, column: str) -> float:
    return mean(row[column] for row in rows)


def of_families(key: str, task: str, better: str, worse: str, named: str = "") -> None:
    @recipe("18_compute_optimal", key)
    def ahead(t: Tables) -> Found:
        return Found(minus(champion(t, task, better, named)[0], champion(t, task, worse)[0]), None, 0.0)


of_families("C.1", "known", "solver", "one linear map")
of_families("C.2", "known", "solver", "MLP")
of_families("C.4", "learned", "solver", "one linear map")
of_families("C.7", "known", "hybrid", "one linear map", "pursuit among")
of_families("C.8", "learned", "hybrid", "one linear map", "pursuit among")


@recipe("18_compute_optimal", "C.3")
def cost_of_fista(t: Tables) -> Found:
    scores, mlp = champion(t, "known", "MLP")
    fewest: Vector = {}
    for row in t["solvers"]:
        d, cost = row["dictionary"], row["inference"] / of_rows(mlp, "inference")
        if (row["task"], row["method"]) == ("known", "FISTA") and row["mcc"] >= scores[d]:
            fewest[d] = min(cost, fewest.get(d, cost))
    assert fewest.keys() == scores.keys()
    return Found([*fewest.values()], None, 1.0, "log")


def of_map(key: str, task: str) -> None:
    @recipe("18_compute_optimal", key)
    def share(t: Tables) -> Found:
        cells = [row["family"] for row in t["optimal"] if row["task"] == task]
        pure = [family in ("one linear map", "MLP", "other encoder") for family in cells]
        return Found(mean(pure), None, 0.5)


of_map("C.5", "known")
of_map("C.6", "learned")


# --- 21: which code -----------------------------------------------------------------------------------------


def as_published(t: Tables) -> int:
    """The number of active latents at which OMP and the encoder overlap most nearly as published."""
    sizes = dict.fromkeys(row["active"] for row in t["worlds"])
    apart = {K: abs(mean(in_world(t, K, "OMP", "encoder").values()) - number("W.1")) for K in sizes}
    return min(apart, key=lambda K: apart[K])


def in_world(t: Tables, K: int, method: str, column: str = "truth") -> Vector:
    return t.pick("worlds", column, active=K, method=method)


def over_documents(rows: Rows, top: str, bottom: str, within: tuple[float, float]) -> Ends:
    """sum(top) / sum(bottom); documents are drawn anew, and Student's half-width over seeds is added in squares."""
    tops, bottoms, seeds = {}, {}, {}
    for row in rows:
        a, b, one = row[top], row[bottom], row["document"]
        tops[one], bottoms[one] = tops.get(one, 0.0) + a, bottoms.get(one, 0.0) + b
        had = seeds.get(row["seed"], (0.0, 0.0))
        seeds[row["seed"]] = had[0] + a, had[1] + b
    # in the order of the documents' numbers, as groups are
    one, two = (np.array([of[key] for key in sorted(of)]) for of in (tops, bottoms))
    chosen = np.random.default_rng(0).integers(len(one), size=(2000, len(one)))
    low, high = np.quantile(one[chosen].sum(1) / two[chosen].sum(1), [0.025, 0.975])
    runs = np.array([a / b for a, b in seeds.values()])
    student = (
        stats.t.ppf(0.975, len(runs) - 1) * runs.std(ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else 0.0
    )
    ours = float(one.sum() / two.sum())
    down, up = math.hypot(ours - low, student), math.hypot(high - ours, student)
    return Ends(ours, max(within[0], ours - down), min(within[1], ours + up), len(one))


def on_model(t: Tables, table: str, **where: Any) -> Rows:
    """Rows of the first dictionary of a language model that the page names."""
    first = t[table][0]["decoder"]
    return [
        r
        for r in t[table]
        if r["decoder"] == first and all(r[name] == value for name, value in where.items())
    ]


def of_pair(t: Tables, other: str, top: str, bottom: str = "tokens", high: float = 1.0) -> Ends:
    return over_documents(on_model(t, "pairs", a="encoder", b=other), top, bottom, (0, high))


def one_less(found: Ends) -> Ends:
    return Ends(1 - found.ours, 1 - found.high, 1 - found.low, found.n)


def between(t: Tables, first: str, second: str, top: str, bottom: str) -> Ends:
    """What one way has more of `top` than another, by document and seed."""
    key = {(r["document"], r["seed"]): r for r in on_model(t, "ways", method=second)}
    rows = [
        row | {"more": row[top] - key[row["document"], row["seed"]][top]}
        for row in on_model(t, "ways", method=first)
    ]
    return over_documents(rows, "more", bottom, (-math.inf, math.inf))


for code_key, code_method in {"W.1": "OMP", "W.2": "IHT"}.items():

    @recipe("21_which_code", code_key)
    def overlap(t: Tables, method: str = code_method) -> Found:
        chance = of_pair(t, method, "overlap_chance").ours
        return Found(of_pair(t, method, "overlap"), number("W.1"), chance, comparable=False)


@recipe("21_which_code", "W.3")
def predicted(t: Tables) -> Found:
    found, chance = (
        one_less(of_pair(t, "OMP", f"left{of}", f"power{of}", math.inf)) for of in ("", "_chance")
    )
    return Found(found, number("W.3"), chance.ours, comparable=False)


@recipe("21_which_code", "W.4")
def pursuit_is_better(t: Tables) -> Found:
    return Found(of_pair(t, "OMP", "second_better", "differ"), None, 0.5)


def of_way(key: str, method: str, column: str, against: float, high: float = 1.0) -> None:
    @recipe("21_which_code", key)
    def share(t: Tables) -> Found:
        rows = on_model(t, "ways", method=method)
        return Found(over_documents(rows, column, "tokens", (0, high)), None, against)


of_way("W.5", "encoder", "valid", 0.5)
of_way("W.7", "OMP", "short", 0.0)
of_way("W.15", "OMP", "near", 0.0, math.inf)


@recipe("21_which_code", "W.6")
def left_by_the_encoder(t: Tables) -> Found:
    return Found(between(t, "encoder", "OMP", "error", "power"), None, 0.0)


@recipe("21_which_code", "W.8")
def in_no_optimum(t: Tables) -> Found:
    return Found(over_documents(on_model(t, "certificates"), "absent", "used", (0, 1)), None, 0.0)


@recipe("21_which_code", "W.9")
def stability(t: Tables) -> Found:
    return Found(between(t, "OMP", "encoder", "stable", "again"), None, 0.0)


@recipe("21_which_code", "W.10")
def probed(t: Tables) -> Found:
    best = {(r["method"], r["seed"]): r["best"] for r in on_model(t, "probing", k=4)}
    return Found([v - best["encoder", seed] for (m, seed), v in best.items() if m == "OMP"], None, 0.0)


@recipe("21_which_code", "W.11")
def pursuit_has_the_truth(t: Tables) -> Found:
    K = as_published(t)
    return Found(minus(in_world(t, K, "OMP"), in_world(t, K, "encoder")), None, 0.0)


@recipe("21_which_code", "W.12")
def pursuit_over_l1(t: Tables) -> Found:
    K = as_published(t)
    return Found(minus(in_world(t, K, "OMP"), in_world(t, K, "L1")), None, 0.0)


@recipe("21_which_code", "W.13")
def common_latents(t: Tables) -> Found:
    both, alone = (t.pick("shared", name, active=as_published(t)) for name in ("both", "only_encoder"))
    return Found([*both.values()], None, mean(alone.values()))


@recipe("21_which_code", "W.14")
def best_is_true(t: Tables) -> Found:
    truth = t.pick("small", "best", noise=0.05, method="the truth")
    return Found([*truth.values()], None, 1 / 560)


# --- 20: the ceiling of the field's benchmark ---------------------------------------------------------------

PAGE_20 = "20_benchmark_ceiling"


def by_world(t: Tables, table: str, column: str = "f1", **where: Any) -> Vector:
    rows = [row for row in t[table] if all(row[name] == value for name, value in where.items())]
    found = {row["world"]: row[column] for row in rows}
    assert len(found) == len(rows), f"{table}: {where} is not one row a world"
    return found


def detected(
    t: Tables, name: str, of: str = "true", size: Callable[..., int] = max, column: str = "f1"
) -> Vector:
    N = size(row["N"] for row in t["all_rows"])
    return by_world(t, "all_rows", column, N=N, dictionary=of, method=name)


@recipe(PAGE_20, "B.1")
def probes(t: Tables) -> Found:
    chance = mean(detected(t, "logistic probe", column="chance").values())
    return Found([*detected(t, "logistic probe").values()], number("B.probe"), chance, "score")


@recipe(PAGE_20, "B.2")
def l1_over_probes(t: Tables) -> Found:
    return Found([*detected(t, "L1, certified").values()], None, number("B.probe"), "score")


def l1_ahead_of(key: str, other: str) -> None:
    @recipe(PAGE_20, key)
    def lead(t: Tables) -> Found:
        return Found(minus(detected(t, "L1, certified"), detected(t, other)), None, 0.0)


l1_ahead_of("B.3", "best linear direction found")
l1_ahead_of("B.4", "OMP")


def lost_by(key: str, first: str, then: str, size: Callable[..., int]) -> None:
    @recipe(PAGE_20, key)
    def lost(t: Tables) -> Found:
        one, other = (detected(t, "L1, certified", of, size) for of in (first, then))
        return Found(minus(one, other), None, 0.0)


lost_by("B.5", "true", "true, most frequent quarter", max)
lost_by("B.6", "true, most frequent quarter", "learned by solving", min)


def solving_leads(key: str, budget: str) -> None:
    @recipe(PAGE_20, key)
    def lead(t: Tables) -> Found:
        one, other = (
            by_world(t, "at_equal", budget=budget, method=m) for m in ("learned by solving", "TopK SAE")
        )
        return Found(minus(one, other), None, 0.0)


solving_leads("B.7", "equal samples")
solving_leads("B.8", "equal time")


@recipe(PAGE_20, "B.9")
def goal(t: Tables) -> Found:
    values = detected(t, "L1, certified", "learned by solving", min).values()
    return Found([*values], None, number("B.probe"), "score")


@recipe(PAGE_20, "B.10")
def noise_costs(t: Tables) -> Found:
    least = min(
        (row["condition"] for row in t["conditions"] if row["condition"].startswith("noise")),
        key=lambda c: float(c.split()[1]),
    )
    one, other = (
        by_world(t, "conditions", condition=c, method="L1, certified", group="all")
        for c in ("as published", least)
    )
    return Found(minus(one, other), None, 0.0)


def main(report: str) -> int:
    count, wrong = differences(Path(report))
    print(
        "\n".join(
            [*wrong, f"{count} claims found again from the tables of {report}, {len(wrong)} differences"]
        )
    )
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
