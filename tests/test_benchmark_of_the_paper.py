"""The re-created loop of the paper trains as ours does, and the benchmark adds up."""

import json
import sys

import pytest
import torch

from amortgap.encoders import MLPEncoder, ReLUEncoder
from amortgap.kit import interval
from amortgap.metrics import mcc, paired_correlation
from amortgap.solvers import solve
from amortgap.training import fit
from benchmarks.paper import __main__, authors, full_protocol, protocols, setting, tried, whole
from benchmarks.paper.setting import ALPHA, L1, Data, M, N, accuracy


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("make", [ReLUEncoder, MLPEncoder])
def test_their_loop_takes_our_steps(make, supervised):
    data = Data()
    model = make(M, N, bias=supervised, seed=3)
    theirs = authors.TheirModel(model)
    codes = data.codes[0] if supervised else None
    authors.their_training(theirs, data.x[0], codes, 50)
    fit(model, data.x[0], codes=codes, steps=50)
    # float32 sums in another order; Adam moves a weight by up to 1e-3 a step
    torch.testing.assert_close(theirs(data.x_test[0])[0], model.encode(data.x_test[0]), rtol=1e-2, atol=1e-3)


def test_their_metrics_are_ours():
    data = Data()
    s, s_hat = data.codes_test[0], torch.relu(data.x_test[0] @ data.D[0])
    assert authors.their_mcc(s, s_hat) == pytest.approx(mcc(s, s_hat).item(), abs=1e-6)
    assert authors.their_mcc(s, s_hat, match=False) == pytest.approx(
        paired_correlation(s, s_hat).item(), abs=1e-6
    )


def test_the_criterion_is_what_the_solver_minimises():
    """mean (x - D s)^2 + lambda mean |s| = 2/M times the mean over samples of P(s), lambda = 2 N alpha / M."""
    data = Data(range(2))
    solutions = [solve(D, x, ALPHA) for D, x in zip(data.D, data.x_test, strict=True)]
    found = accuracy(data, "E2", torch.stack([s.codes for s in solutions]), data.D)["criterion"]
    assert found == pytest.approx([2 / M * s.objective.mean().item() for s in solutions], rel=1e-5)
    assert accuracy(data, "E1", 3 * data.codes_test, data.D) == {
        "criterion": pytest.approx([-1.0, -1.0]),
        "mcc": pytest.approx([1.0, 1.0]),
    }


def test_sparse_coding_lowers_the_criterion(monkeypatch):
    monkeypatch.setitem(setting.LOGGED, "E3", 8)
    x, seen = Data(range(1)).x[0], []
    D = protocols.sparse_coding(x, 0, alpha=0.3, falling=0.5, rounds=2, measure=seen.append)
    first, last = (solve(d, x, ALPHA).objective.mean() for d in (seen[0], D))
    assert len(seen) == 8
    assert last < 0.9 * first


def test_the_full_protocol_is_constant_full_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(full_protocol, "STEPS", {"E2": 30})
    monkeypatch.setattr(full_protocol, "INFERENCE", {"E2": (20, 1e-3)})
    data = Data(range(2))
    found = full_protocol.encoder(data, "E2", 0, tmp_path / "checkpoint.pt")
    for i in range(2):
        model = ReLUEncoder(M, N, D=data.D[i], seed=i)
        fit(model, data.x[i], steps=30, l1_weight=L1)
        expected = accuracy(Data(range(i, i + 1)), "E2", model.encode(data.x_test[i])[None], data.D[i][None])
        assert found["E2 SAE"]["criterion"][i] == pytest.approx(expected["criterion"][0], rel=1e-4)
        assert found["E2 SAE"]["mcc"][i] == pytest.approx(expected["mcc"][0], rel=1e-3)
    assert set(found) == {"E2 SAE", "E2 SAE+ITO"}


def test_totals_are_sums_and_the_file_says_so(tmp_path, monkeypatch):
    out, theirs = tmp_path / "paper.json", tmp_path / "paper_full_protocol.json"
    arms = ("E3 SAE", "E3 SAE+ITO", "E3 sparse coding")
    scores = {"criterion": [0.1] * 5, "mcc": [0.5] * 5, "dictionary_mcc": [0.7, 0.6, 0.5, 0.4, 0.3]}
    theirs.write_text(json.dumps(dict.fromkeys(arms, scores)))
    monkeypatch.setattr(__main__, "WIDTHS", {"E3": (0,)})
    monkeypatch.setitem(setting.LOGGED, "E3", 2)
    monkeypatch.setattr(whole, "ENCODERS", {("E3", 0): {"steps": 8, "lr": 0.01, "batch_size": 128}})
    options = ["--steps", "1", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["paper", *options])
    __main__.main()
    found, text = json.loads(out.read_text()), out.with_suffix(".md").read_text()
    assert {r["part"] for r in found["parts"]} == {"step", "evaluation", "inference"}
    total = sum(r["ours_cpu"] * r["count"] for r in found["parts"] if r["experiment"] == "E3")
    by_arm = {(r["experiment"], r["arm"]): r for r in found["totals"]}
    assert by_arm["E3", "all"]["ours_cpu"] == pytest.approx(total)
    assert f"{by_arm['E3', 'all']['ratio_cpu']:.3g}" in text

    rows = found["equal_accuracy"]
    assert [f"{r['experiment']} {r['arm']}" for r in rows] == list(arms)
    for r in rows:
        assert r["theirs_cpu"] == by_arm[r["experiment"], r["arm"]]["theirs_cpu"]
        gain = [a - b for a, b in zip(r["ours"]["dictionary_mcc"], scores["dictionary_mcc"], strict=True)]
        assert r["ours_less_theirs"]["dictionary_mcc"]["low"] == pytest.approx(interval(gain).low)
    last = found["equal_accuracy_totals"][-1]
    assert last["ratio_cpu"] == pytest.approx(
        sum(r["theirs_cpu"] for r in rows) / sum(r["ours_cpu"] for r in rows)
    )
    assert f"{last['ratio_cpu']:.3g}" in text


def test_theirs_must_be_known(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["paper", "--out", str(tmp_path / "paper.json")])
    with pytest.raises(SystemExit):
        __main__.main()
    assert "full_protocol" in capsys.readouterr().err


def test_a_protocol_is_tried_on_dictionaries_of_its_own():
    for h in (0, 1024):
        assert not set(tried.validation(h).seeds) & set(Data().seeds)
