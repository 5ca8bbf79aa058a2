"""The re-created loop of the paper trains as ours does, and the benchmark adds up."""

import json
import sys

import pytest
import torch

from amortgap import bench_paper
from amortgap.encoders import MLPEncoder, ReLUEncoder
from amortgap.metrics import mcc, paired_correlation
from amortgap.training import fit


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("make", [ReLUEncoder, MLPEncoder])
def test_their_loop_takes_our_steps(make, supervised):
    data = bench_paper.Data()
    model = make(bench_paper.M, bench_paper.N, bias=supervised, seed=3)
    theirs = bench_paper.TheirModel(model)
    codes = data.codes[0] if supervised else None
    bench_paper.their_training(theirs, data.x[0], codes, 50)
    fit(model, data.x[0], codes=codes, steps=50)
    # float32 sums in another order; Adam moves a weight by up to 1e-3 a step
    torch.testing.assert_close(theirs(data.x_test[0])[0], model.encode(data.x_test[0]), rtol=1e-2, atol=1e-3)


def test_their_metrics_are_ours():
    data = bench_paper.Data()
    s, s_hat = data.codes_test[0], torch.relu(data.x_test[0] @ data.D[0])
    assert bench_paper.their_mcc(s, s_hat) == pytest.approx(mcc(s, s_hat).item(), abs=1e-6)
    assert bench_paper.their_mcc(s, s_hat, match=False) == pytest.approx(
        paired_correlation(s, s_hat).item(), abs=1e-6
    )


def test_totals_are_parts_times_counts_and_the_file_says_so(tmp_path, monkeypatch):
    out = tmp_path / "paper.json"
    monkeypatch.setattr(bench_paper, "WIDTHS", {"E3": (0,)})
    monkeypatch.setattr(
        sys, "argv", ["bench_paper", "--steps", "1", "--repeats", "1", "--widths", "0", "--out", str(out)]
    )
    threads = torch.get_num_threads()
    try:
        bench_paper.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads(out.read_text())
    assert {r["part"] for r in found["parts"]} == {"step", "evaluation", "inference"}
    total = sum(r["ours_cpu"] * r["count"] for r in found["parts"])
    assert found["totals"][-1]["arm"] == "all"
    assert found["totals"][-1]["ours_cpu"] == pytest.approx(total)
    assert f"{found['totals'][-1]['ratio_cpu']:.4g}" in out.with_suffix(".md").read_text()
