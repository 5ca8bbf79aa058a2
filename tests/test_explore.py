"""What page 23 lets a reader play with: right numbers, drawn again faster than a slider moves."""

from __future__ import annotations

import contextlib
import io
import math
import re
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from queue import Empty

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

from amortgap import explore
from amortgap.explore.signal import prepared
from amortgap.gap import LADDER
from amortgap.kit import explore as draw
from amortgap.problem import AMPLITUDES, SparseProblem
from amortgap.solvers import solve
from amortgap.theory import mcc_upper_bound

ROOT = Path(__file__).parents[1]
LARGEST = {"N": 32, "M": 16, "K": 6, "alpha": 0.0025, "noise": 0.0, "seed": 0}
SETTING = {"N": 16, "M": 8, "K": 3, "alpha": 0.0025, "noise": 0.0, "seed": 1}


def ladder(**setting) -> dict[str, dict]:
    return {row["rung"]: row for row in explore.one_signal(**setting)[1]}


@pytest.mark.parametrize("solver", explore.SOLVERS)
def test_the_rungs_are_in_order_and_solvers_end_below_the_optimum(solver: str) -> None:
    found = ladder(**SETTING, amplitude="half-normal", encoder="transpose", solver=solver)
    assert [name for name in found if name in LADDER] == list(LADDER[:6])
    assert found["oracle"]["mcc"] > 1 - 1e-9  # least squares on the true support of a noiseless signal
    assert found["converged L1"]["mcc"] > 0.97
    assert found["L-NL ceiling"]["mcc"] == mcc_upper_bound(SparseProblem(seed=1).D, 3)
    for name in explore.ENCODERS[2:]:  # 256 signals may flatter a little
        assert found[name]["mcc"] < found["L-NL ceiling"]["mcc"] + 0.02
    assert {name for name, row in found.items() if row["chosen"]} == {"transpose", solver}


@pytest.mark.parametrize("amplitude", AMPLITUDES)
def test_every_law_of_amplitudes_has_its_ladder(amplitude: str) -> None:
    found = ladder(**SETTING, amplitude=amplitude, encoder="pseudo-inverse", solver="OMP")
    assert all(0 < row["mcc"] <= 1 + 1e-6 for name, row in found.items() if name != "L-NL ceiling")
    assert (found["L-NL ceiling"]["mcc"] is None) == (
        amplitude in ("log-normal", "zipf-half-normal", "floored-zipf-half-normal")
    )


def test_the_ceiling_closes_where_the_dictionary_is_a_basis() -> None:
    setting = SETTING | {"M": 16, "amplitude": "half-normal", "encoder": "pseudo-inverse", "solver": "OMP"}
    found = ladder(**setting)["L-NL ceiling"]
    assert found["mcc"] == pytest.approx(1, abs=1e-6)
    assert found["low"] > 0.99  # the quadrature's noise costs a little


@pytest.mark.parametrize("method", explore.STEPPED)
def test_steps_are_what_the_method_does_and_end_at_the_optimum(method: str) -> None:
    p = SparseProblem(N=12, M=8, K=2, n=1, seed=2, dtype=torch.float64)
    told, values = explore.stepped(p.D, p.x[0], 0.05, method, 40)
    assert told[0]["step"] == 0
    assert told[0]["active"] == 0
    best = float(solve(p.D, p.x, 0.05, tol=1e-12).objective)
    assert all(row["objective"] >= best * (1 - 1e-9) for row in told)
    assert all(row["excess"] <= row["gap"] * row["objective"] + 1e-12 for row in told), "the gap is no bound"
    assert told[-1]["objective"] < told[0]["objective"] / 2
    assert {row["step"] for row in values} == {row["step"] for row in told}
    if method in ("ista", "fista"):
        assert told[-1]["gap"] < told[1]["gap"] / 10
    else:
        assert len(told) == (9 if "pursuit" in method or method == "omp" else 41)  # min(M, N) latents


def test_ista_goes_down_at_every_step() -> None:
    p = SparseProblem(N=12, M=8, K=2, n=1, seed=2)
    objective = [row["objective"] for row in explore.stepped(p.D, p.x[0], 0.05, "ista", 30)[0]]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(objective))


def test_in_the_plane_the_solver_takes_two_and_an_encoder_half_planes() -> None:
    cells, columns = explore.plane(6, 1e-3, 0, "transpose")
    angle = torch.tensor([math.atan2(row["y"], row["x"]) for row in columns])
    for row in cells:
        if row["code"] == "solved":
            assert row["active"] <= 2
        elif math.hypot(row["x"], row["y"]) > 0.1:
            on = {int(i) for i in row["cell"].split("+") if i}
            turn = torch.cos(angle - math.atan2(row["y"], row["x"]))
            sure = turn.abs() > 0.02
            assert {i for i in range(6) if sure[i] and turn[i] > 0} == {i for i in on if sure[i]}


def test_names_of_cells_stand_beside_the_arrows() -> None:
    fig = draw.plane(*explore.plane(5, 0.1, 0, "pseudo-inverse"))
    fig.draw_without_rendering()
    for ax in fig.axes:
        arrows = [one for one in ax.texts if not one.get_text()]
        names = [one for one in ax.texts if one.get_text()]
        assert (len(arrows), len(names) >= 7) == (5, True)
        for arrow in arrows:
            along = ax.transData.transform(np.linspace(0, 1, 50)[:, None] * np.array(arrow.xy))
            # text has room around its letters
            boxes = [name.get_window_extent().padded(-2) for name in names]
            assert not any(box.contains(*point) for box in boxes for point in along)
    plt.close(fig)


@pytest.fixture(scope="module")
def small():
    return explore.small_sae(24, 12, 3, 0)


def test_latents_are_told_by_their_sources_searched_and_sorted(small) -> None:
    rows = explore.latents_of(*small)
    assert max(row["balanced_1"] for row in rows) > 0.8
    scores = [row["balanced_0"] for row in explore.matching(rows, order="balanced accuracy")]
    assert scores == sorted(scores, reverse=True)
    rule = rows[3]["rule_0"]
    assert rows[3] in explore.matching(rows, words=f"  {rule.upper()}")
    assert all(rule in row["html"] for row in explore.matching(rows, words=rule))
    assert explore.matching(rows, words="no such word") == []
    assert draw.latents(rows).count("<details") == len(rows)


def test_a_chooser_lists_what_can_be_read(tmp_path: Path) -> None:
    for name in ("a.safetensors", "notes.txt", ".hidden.pt"):
        (tmp_path / name).touch()
    (tmp_path / "sae").mkdir()
    assert explore.listing(tmp_path) == ["../", "sae/", "a.safetensors"]
    assert explore.listing(tmp_path / "gone") == ["../"]


def drawn(fig) -> None:
    fig.savefig(io.BytesIO(), format="png", dpi=80)
    plt.close(fig)


def test_pictures_are_drawn_again_in_under_a_third_of_a_second() -> None:
    p = SparseProblem(LARGEST["N"], LARGEST["M"], LARGEST["K"], n=1)
    path = explore.stepped(p.D, p.x[0], 0.0025, "fista", 30)
    truth = [{"latent": i, "value": v} for i, v in enumerate(p.codes[0].tolist())]
    law = {"amplitude": "half-normal", "encoder": "pseudo-inverse"}

    def signal(solver: str) -> None:
        prepared.cache_clear()  # as if N, M or the seed had moved
        drawn(draw.signal(*explore.one_signal(**LARGEST, **law, solver=solver)))

    def plane() -> None:
        prepared.cache_clear()
        drawn(draw.plane(*explore.plane(9, 0.1, 0, "supervised encoder")))

    moves = {name: lambda name=name: signal(name) for name in explore.SOLVERS}
    moves |= {"plane": plane, "step": lambda: drawn(draw.steps(*path, truth, 7))}
    for name, move in moves.items():
        move()  # kernels are compiled or read
        took = []
        for _ in range(5):
            # the processor's time: others on this machine do not count
            began = time.process_time()
            move()
            took.append(time.process_time() - began)
        assert min(took) < 0.3, f"{name}: {took}"


class PatientChannel(AsyncZMQSocketChannel):
    """Asks again every second.

    nbclient sends what a widget holds over the socket on which it waits for the kernel's reply; sending can swallow
    the news that one has come, and then the test waited all of its ten minutes.
    """

    async def get_msg(self, timeout: float | None = None) -> dict:
        last = math.inf if timeout is None else time.monotonic() + timeout
        while time.monotonic() < last:
            with contextlib.suppress(Empty):
                return await super().get_msg(timeout=1)
        raise Empty


class PatientClient(AsyncKernelClient):
    shell_channel_class = Type(PatientChannel)


class PatientManager(AsyncKernelManager):
    client_factory = Type(PatientClient)


@pytest.mark.timeout(900)  # a busy machine must not make it fail
@pytest.mark.skipif(find_spec("ipywidgets") is None, reason="ipywidgets is not installed (extra lab)")
def test_the_notebook_has_sliders_where_there_are_widgets(tmp_path: Path, monkeypatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.delenv("AMORTGAP_RUN", raising=False)
    notebook = nbformat.read(ROOT / "notebooks/23_explore.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += f"\nout = {str(tmp_path)!r}"
    moved = (ROOT / "tests/data/move_widgets.py").read_text()
    notebook.cells.append(nbformat.v4.new_code_cell(moved))
    options = {"kernel_manager_class": PatientManager, "resources": {"metadata": {"path": str(tmp_path)}}}
    nbclient.NotebookClient(notebook, timeout=600, **options).execute()
    widgets = [
        one
        for cell in notebook.cells
        for one in cell.get("outputs", [])
        if "application/vnd.jupyter.widget-view+json" in one.get("data", {})
    ]
    assert len(widgets) >= 7
    said = "".join(one.text for one in notebook.cells[-1].outputs if one.output_type == "stream")
    assert int(re.search(r"(\d+) moves", said)[1]) > 50, said
    errors = [w for w in notebook.metadata.widgets.values() if "ename" in str(w)]
    assert not errors
