"""An audit of every row, shard by shard: the sums of one audit of all rows, whoever worked on which shard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from amortgap.audit.rows import Decoder, measure, to_rows
from amortgap.audit.shards import WAYS, audit_shards
from amortgap.audit.ways import OWN_COUNT, Ways
from amortgap.cli import main
from amortgap.interop import SAE, write
from amortgap.problem import SparseProblem
from amortgap.runs.sweep import Backend, sweep
from amortgap.solvers import prepare

M, N, K = 24, 60, 4
# whole batches of 256 up to the last, so that an audit of all rows has the same batches
SIZES = (512, 256, 300)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[SAE, Path, torch.Tensor, torch.Tensor]:
    p = SparseProblem(M=M, N=N, K=K, n=sum(SIZES), seed=2)
    x = p.x.float() + 0.3  # a mean that is not zero
    D = p.D.float()
    sae = SAE("topk", D, torch.zeros(N), D.T.contiguous(), torch.full((M,), 0.3), k=K)
    document = torch.arange(len(x)) // 37
    folder = tmp_path_factory.mktemp("shards")
    start = 0
    for i, size in enumerate(SIZES):
        rows = slice(start, start + size)
        save_file(
            {"x": x[rows].contiguous(), "document": document[rows].contiguous()}, folder / f"{i}.safetensors"
        )
        start += size
    return sae, folder, x, document


def without_seconds(result: Any) -> dict[str, Any]:
    found = asdict(result)
    return found | {"rows": [row | {"seconds": 0} for row in found["rows"]]}


def test_it_is_the_audit_of_all_rows_at_once(given: Any) -> None:
    sae, folder, x, document = given
    result = audit_shards(sae, folder)
    D = prepare(sae.D)
    ways = Ways(sae, D, result.alpha, K, 1e-4)
    found = measure(Decoder("SAE", D.D, sae.b_dec), ways.encode, partial(ways, wanted=WAYS), x)
    # documents that two shards share count twice
    shard = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    whole = to_rows(Decoder("SAE", D.D, sae.b_dec), found, x, document + 1000 * shard, seed=0)
    assert [row.method for row in result.rows] == [row.method for row in whole]
    assert {row.method for row in whole} == set(WAYS)
    for ours, theirs in zip(result.rows, whole, strict=True):
        for name, value in asdict(theirs).items():
            if name not in ("decoder", "method", "seconds"):
                # the mean is that of float32 there, and of float64 here
                assert getattr(ours, name) == pytest.approx(value, rel=1e-5, abs=1e-7), (ours.method, name)
    assert result.density == pytest.approx((found["encoder"].used.double() / len(x)).tolist())
    assert (result.tokens, result.shards, result.resampled) == (len(x), 3, "documents")
    assert result.groups == len((document + 1000 * shard).unique())
    assert result.worst_gap is not None
    assert result.worst_gap <= 1e-4


def test_own_count_needs_no_matrix_of_all_latents_where_they_are_many(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae, draw = given[0], torch.Generator().manual_seed(0)
    # noise, and more latents than it can use, so that some leave
    z, codes = torch.randn(200, M, generator=draw), (torch.rand(200, N, generator=draw) < 0.25).float()
    many = Ways(sae, prepare(sae.D), None, K, 1e-4)
    (_, full, _), *_ = many(z, codes, [OWN_COUNT])
    monkeypatch.setattr("amortgap.audit.ways.ALL", N - 1)
    (_, fewer, _), *_ = many(z, codes, [OWN_COUNT])
    counts = [(s > 0).sum(1) for s in (codes, full, fewer)]
    same = counts[2] == counts[0]
    assert torch.equal(full[same], fewer[same])
    assert (counts[2] <= counts[0]).all()
    assert 0 < int(same.sum()) < len(z)


def test_several_workers_give_the_same_bits(given: Any) -> None:
    sae, folder, _, _ = given
    alone = audit_shards(sae, folder)
    shared = audit_shards(sae, folder, share=partial(sweep, on=Backend("loky", workers=2)))
    assert without_seconds(shared) == without_seconds(alone)


def test_sums_are_merged_and_not_averages(given: Any, tmp_path: Path) -> None:
    """One shard of a single row weighs as one row."""
    sae, _, x, _ = given
    for cut in (1, 100):
        folder = tmp_path / str(cut)
        folder.mkdir()
        np.save(folder / "0.npy", x[:cut].numpy())
        np.save(folder / "1.npy", x[cut:].numpy())
    # at a wider gap some latents that are zero count or not, by what else is in a batch
    one, other = (audit_shards(sae, tmp_path / str(cut), tol=1e-8) for cut in (1, 100))
    for a, b in zip(one.rows, other.rows, strict=True):
        # alpha is set on the same rows; batches differ, so the codes do in their last digits
        assert a.fvu == pytest.approx(b.fvu, rel=1e-4), a.method
        assert a.l0 == pytest.approx(b.l0, rel=1e-3), a.method
    assert one.resampled == "blocks"


def test_rows_that_say_nothing_are_left_out_and_counted(given: Any, tmp_path: Path) -> None:
    sae, _, x, _ = given
    np.save(tmp_path / "0.npy", np.concatenate([np.zeros((5, M), np.float32), x[:600].numpy()]))
    np.save(tmp_path / "1.npy", x[600:].numpy())
    result = audit_shards(sae, tmp_path)
    assert result.tokens == len(x)
    assert result.left_out.found == {"padding": 5}
    assert audit_shards(sae, tmp_path, keep_all=True).tokens == len(x) + 5


def test_activations_that_do_not_fit_are_refused(given: Any) -> None:
    sae, folder, _, _ = given
    with pytest.raises(ValueError, match="width 24, but this SAE takes"):
        audit_shards(
            replace(sae, W_enc=torch.ones(30, N), W_dec=torch.ones(N, 30), b_dec=torch.zeros(30)), folder
        )


def test_rows_that_no_audit_can_have_are_refused(given: Any, tmp_path: Path) -> None:
    sae, _, x, _ = given
    nan = x.clone()
    nan[7, 3] = torch.nan
    for name, shards, said in (
        ("few", [x[:63]], "at least 64 activations, not 63"),
        ("constant", [torch.full((100, M), 0.7)] * 2, "all the same"),
        ("large", [x * 1e25], "norm"),
        ("nan", [x, nan], r"1\.npy contains NaN"),
        ("twice", [x[:500], x[500:], x[:500]], "number 1 and 3 .* hold the same rows"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for i, shard in enumerate(shards):
            np.save(folder / f"{i}.npy", shard.numpy())
        with pytest.raises(ValueError, match=said):
            audit_shards(sae, folder)


def test_a_shard_that_a_worker_does_not_find_is_no_other_shard(given: Any, tmp_path: Path) -> None:
    sae, folder, _, _ = given
    for shard in folder.iterdir():
        shutil.copy(shard, tmp_path)

    def without_one(function: Callable[[int], Any], items: Sequence[int]) -> Iterator[tuple[int, Any]]:
        (tmp_path / "1.safetensors").unlink(missing_ok=True)
        return ((i, function(item)) for i, item in enumerate(items))

    with pytest.raises(ValueError, match="no longer, or not on every machine"):
        audit_shards(sae, tmp_path, share=without_one)


def test_the_command_writes_the_rows(
    given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    sae, folder, _, _ = given
    monkeypatch.chdir(tmp_path)
    write(sae, tmp_path / "my_sae")
    assert main(["audit", "my_sae", "--activations", str(folder), "--every-row"]) == 0
    said = capsys.readouterr().out
    assert f"{sum(SIZES)} tokens of 3 shards" in said
    assert "OMP" in said
    assert (tmp_path / "audit_my_sae" / "shards.json").is_file()
    assert main(["audit", "my_sae", "--every-row"]) == 2
    assert "--every-row audits one SAE on --activations FOLDER" in capsys.readouterr().err
    for words in (["--tokens", "5"], ["--n-tokens", "5"], ["--layer", "3"], ["--model", "gpt2"]):
        assert main(["audit", "my_sae", "--activations", str(folder), "--every-row", *words]) == 2
        assert f"has no use for {words[0]}\n" in capsys.readouterr().err
