"""A new encoder or solver is one file and one line in its registry: whatever loops over the registry takes it.

The two are made here, in a package of their own: an encoder with another nonlinearity, and a solver that restarts
its momentum by the clock.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny_models
from amortgap import flops
from amortgap.audit import Inputs, audit
from amortgap.encoders import ENCODERS
from amortgap.interop import architectures, from_encoder, read, write
from amortgap.llm import activations
from amortgap.llm.train import build, train
from amortgap.problem import SparseProblem
from amortgap.solvers import SOLVERS, solve
from amortgap.training import stack, unstack

ROOT = Path(__file__).parents[1]

SOFTPLUS = '''
import math
import torch
from torch import nn
from torch.nn.functional import softplus
from amortgap.encoders._decoder import Decoder
from amortgap.encoders._encoder import Encoder


class SoftplusEncoder(Encoder):
    """s = relu(softplus(W (x - b_pre) + b) - log 2),   x_hat = D s + b_pre."""

    variants = {"Softplus": {}}
    exchange = "softplus"

    def __init__(self, M, N, *, D=None, pre_bias=False, seed=0):
        super().__init__()
        self.decoder = Decoder(M, N, D, pre_bias, torch.Generator().manual_seed(seed))
        self.W = nn.Parameter(self.decoder.transposed())
        self.b = nn.Parameter(torch.zeros(N))

    def encode(self, x):
        h = self.decoder.centre(x) @ self.W.mT + self.b.unsqueeze(-2)
        return self.select(h, h, None, None)

    @staticmethod
    def select(h, amplitude, k, threshold):
        return torch.relu(softplus(h) - math.log(2))
'''

TOY = '''
import torch
from amortgap.solvers._iterate import Costs, iterate, shrink, working_dtype
from amortgap.solvers._solution import unit_free
from amortgap.solvers.prepared import prepare

AGAIN = 60  # steps from one restart to the next


@unit_free
def toy(D, x, alpha, *, nonnegative=True, tol=1e-6, init=None, max_steps=200_000):
    """Accelerated gradient with a step for each column, whose momentum starts again every 60 steps."""
    given = prepare(D)
    D_ = given.D.to(working_dtype(x, tol))
    M, N = D.shape
    length = torch.linalg.vector_norm(D_, dim=0)
    eta = 1 / (length * torch.linalg.matrix_norm(D_ / length, ord=2)).square()

    def begin(target, s):
        return s, s, torch.zeros(len(s), 1, dtype=s.dtype), target

    def step(state):
        s, y, k, target = state
        new = shrink(y + eta * ((target - y @ D_.T) @ D_), eta * alpha, nonnegative)
        k = (k + 1) % AGAIN
        return new, new + k / (k + 3) * (new - s), k, target

    return iterate(
        given, x, alpha, begin, step, nonnegative=nonnegative, tol=tol, init=init, max_steps=max_steps,
        costs=Costs(shared=0, start=0, step=4 * M * N), method="toy",
    )
'''

REGISTER = """
from amortgap.encoders import ENCODERS
from amortgap.solvers import SOLVERS
from newcomers.softplus import SoftplusEncoder
from newcomers.toy import toy

ENCODERS["softplus"] = SoftplusEncoder
SOLVERS["toy"] = toy
"""

CONTRACTS = ["test_encoders", "test_training", "test_flops", "test_solvers"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    package = folder / "newcomers"
    package.mkdir()
    for name, text in {"__init__": "", "softplus": SOFTPLUS, "toy": TOY, "register": REGISTER}.items():
        (package / f"{name}.py").write_text(text)
    return folder


def test_all_contracts_take_the_newcomers(place):
    """In another process, which registers them before the tests are collected."""
    program = f"import sys, pytest; sys.path.insert(0, {str(place)!r}); sys.exit(pytest.main(sys.argv[1:]))"
    tests = [f"tests/{name}.py" for name in CONTRACTS]
    round_trip = "tests/test_interop.py::test_our_encoders_survive_the_round_trip"
    chosen = ["-p", "newcomers.register", "-q", "-k", "softplus or toy", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-c", program, *chosen, *tests, round_trip],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = int(done.stdout.split(" passed")[0].split()[-1])
    assert passed > 60  # 12 contracts of encoders and more in several forms, and the solvers' on ten problems


@pytest.fixture
def registered(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place))
    import newcomers.softplus
    import newcomers.toy

    monkeypatch.setitem(ENCODERS, "softplus", newcomers.softplus.SoftplusEncoder)
    monkeypatch.setitem(SOLVERS, "toy", newcomers.toy.toy)


@pytest.fixture(scope="module")
def model_activations(tmp_path_factory):
    """Of a small language model with random weights, width 16."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "texts").mkdir()
    for i in range(30):
        (folder / "texts" / f"{i:02}.txt").write_text(
            f"Text {i}. " + "The sea is wide, the boat is small. " * 3
        )
    gpt2 = str(tiny_models.save_gpt2(folder / "gpt2"))
    return activations(gpt2, 2, str(folder / "texts"), 2400, context=32, cache=folder / "cache")


@pytest.mark.usefixtures("registered")
def test_the_language_model_page_trains_it_and_an_audit_scores_it(model_activations, tmp_path):
    x = model_activations.train.x
    M, N = x.shape[1], 24
    model = stack([build("Softplus", M, N, seed=s) for s in (0, 1)])
    history = train(
        model, x, steps=60, batch_size=128, lr=0.01, l1_weight=torch.tensor([0.3, 1.0]), log_at=(0,)
    )
    assert (history.loss[-1] < history.loss[0]).all()
    step = flops.training_step("softplus", M, N, pre_bias=True)
    assert history.flops[-1] == 60 * 128 * step

    single = unstack(model, 1)
    sae = from_encoder(single, model_name="small")
    assert "softplus" in architectures()
    write(sae, tmp_path)
    torch.testing.assert_close(read(tmp_path).encode(x), sae.encode(x))
    torch.testing.assert_close(sae.encode(x), single.encode(x).detach())
    result = audit(sae, Inputs(x), tokens=64)
    encoder = next(r for r in result.rows if r.decoder == "SAE" and r.method == "encoder")
    assert encoder.flops == flops.encode("softplus", M, N) == 2 * M * N


@pytest.mark.usefixtures("registered")
def test_a_new_solver_is_asked_for_by_its_name():
    p = SparseProblem(16, 8, 3, n=50, dtype=torch.double)
    ours, other = solve(p.D, p.x, 0.01, "toy"), solve(p.D, p.x, 0.01)
    assert ours.converged.all()
    torch.testing.assert_close(ours.objective, other.objective, rtol=2e-6, atol=0)
