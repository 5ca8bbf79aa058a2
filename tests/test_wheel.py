"""The wheel, installed in an empty environment with its runtime dependencies alone, works outside the clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from amortgap import heads

ROOT = Path(__file__).parents[1]
OPTIONS = ("--architecture", "topk", "--k", "4", "--no-subtract-b-dec", "--normalise", "none")


def run(*command, cwd):
    # neither this clone nor this environment may help
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_wheel_audits_and_improves_in_an_empty_environment(tmp_path):
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("amortgap-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)

    draw = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(64, 16, generator=draw), dim=1)
    active = torch.rand(1500, 64, generator=draw).topk(4).indices
    x = torch.zeros(1500, 64).scatter(1, active, 1 + torch.rand(1500, 4, generator=draw)) @ W_dec
    np.save(tmp_path / "x.npy", x.numpy())
    weights = {"W_enc": W_dec.T.contiguous(), "b_enc": torch.zeros(64), "W_dec": W_dec}
    save_file(weights | {"b_dec": torch.zeros(16)}, tmp_path / "mine.safetensors")

    amortgap = tmp_path / "empty" / "bin" / "amortgap"
    where = run(python, "-c", "import amortgap; print(amortgap.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "empty")
    given = ("mine.safetensors", *OPTIONS, "--activations", "x.npy")
    assert "unexplained" in run(amortgap, "audit", *given, cwd=tmp_path)
    assert "unexplained" in run(amortgap, "improve", *given, "--baseline-seconds", "1", cwd=tmp_path)
    for page in ("audit_mine", "improved_mine"):
        assert "<h1>" in (tmp_path / page / "index.html").read_text()
    assert heads.load(tmp_path / "improved_mine").encode(x).count_nonzero(1).max() <= 4
