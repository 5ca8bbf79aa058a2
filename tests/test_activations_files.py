"""Activations from files: every kind of file and float type gives the same rows, memory stays constant, and rows
that say nothing about an SAE are found, counted and left out."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from amortgap.audit import Inputs, audit, from_path
from amortgap.audit.left_out import LeftOut, special
from amortgap.interop import SAE, write
from amortgap.pages.audit import findings
from amortgap.problem import SparseProblem

n, M = 90, 8
X = torch.randn(n, M, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DOCUMENT = torch.arange(n) // 10


def saved(kind, dtype, folder):
    """X in a file of this kind and type."""
    x, path = X.to(getattr(torch, dtype)), folder / f"x.{kind}"
    if kind == "npy":
        np.save(path, x.numpy())
    elif kind == "npz":
        np.savez_compressed(path, activations=x.numpy(), document=DOCUMENT.numpy())
    elif kind == "safetensors":
        save_file({"activations": x, "document": DOCUMENT}, path)
    elif kind == "pt":
        torch.save(x, path)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = {"hidden": x.numpy().tolist(), "document": DOCUMENT.numpy()}
        parquet.write_table(pyarrow.table(columns), path, row_group_size=20)
    return path


TYPES = ["float16", "float32", "float64"]
CASES = [(kind, dtype) for kind in ("npy", "npz", "safetensors", "pt", "parquet") for dtype in TYPES]


# numpy has no bfloat16
@pytest.mark.parametrize(("kind", "dtype"), [*CASES, ("safetensors", "bfloat16"), ("pt", "bfloat16")])
def test_every_kind_and_type_gives_the_same_rows(kind, dtype, tmp_path):
    given = from_path(saved(kind, dtype, tmp_path))
    assert given.x.dtype == torch.float32
    assert torch.equal(given.x, X.to(getattr(torch, dtype)).float())
    assert torch.equal(given.row, torch.arange(n))
    if kind in ("npz", "safetensors", "parquet"):
        assert torch.equal(given.document, DOCUMENT)
    # a sample is rows of the whole, in order, and each row once
    part = from_path(tmp_path / f"x.{kind}", limit=20 * M)
    assert part.left_out.rows == n
    assert part.left_out.read == len(part.x) == 20
    assert (part.row.diff() > 0).all()
    assert torch.equal(part.x, given.x[part.row])
    assert "20 of 90 rows were drawn" in part.left_out.sentence()


def test_shards_count_on_and_their_documents_stay_apart(tmp_path):
    for i in (2, 10, 1):  # 10 comes after 2
        save_file(
            {"x": X[i : i + 5].float(), "document": torch.tensor([0, 0, 1, 1, 2])},
            tmp_path / f"s{i}.safetensors",
        )
    given = from_path(tmp_path)
    assert torch.equal(given.x, torch.cat([X[i : i + 5] for i in (1, 2, 10)]).float())
    assert given.document.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8]
    # a document that goes on in the next shard is one
    for i, documents in ((1, [0, 0, 1, 1, 2]), (2, [2, 2, 3, 3, 3]), (10, [4, 4, 4, 5, 5])):
        save_file(
            {"x": X[i : i + 5].float(), "document": torch.tensor(documents)}, tmp_path / f"s{i}.safetensors"
        )
    assert from_path(tmp_path).document.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5]
    np.save(tmp_path / "other.npy", X.numpy())
    with pytest.raises(ValueError, match="several kinds"):
        from_path(tmp_path)


def test_sequences_have_positions_and_documents(tmp_path):
    np.save(tmp_path / "x.npy", X.reshape(9, 10, M).numpy())
    given = from_path(tmp_path / "x.npy")
    assert given.left_out.found == {"position 0": 9}
    assert torch.equal(given.row, torch.arange(n)[torch.arange(n) % 10 > 0])
    assert torch.equal(given.document, given.row // 10)
    kept = from_path(tmp_path / "x.npy", keep_all=True)
    assert len(kept.x) == n
    assert kept.left_out.found == {"position 0": 9}
    assert kept.left_out.sentence().endswith("They were kept.")


def test_special_rows_are_found_each_once():
    x = X.float().clone()
    position, token, mask = torch.arange(n) % 10, torch.arange(n) % 7 + 10, torch.ones(n)
    token[position == 0] = 1
    token[15] = 1  # BOS in the middle
    mask[88:] = 0
    x[87] = 0
    x[[21, 32, 43, 54]] = x[65].clone()
    x[76] *= 1e3
    found = special(x, {"position": position, "token": token, "mask": mask})
    rows = {reason: holds.nonzero()[:, 0].tolist() for reason, holds in found.items()}
    assert rows == {
        "padding": [87, 88, 89],
        "BOS": [0, 10, 15, 20, 30, 40, 50, 60, 70, 80],
        "repeated": [21, 32, 43, 54, 65],
        "massive": [76],
    }
    # without knowledge of the rows, what the vectors show
    assert set(special(x, {})) == {"padding", "repeated", "massive"}
    # data that repeat themselves throughout are no BOS
    assert special(x[:5].repeat(10, 1), {}) == {}


P = SparseProblem(N=48, M=16, K=3, n=600, noise=0.01)


def test_bos_rows_do_not_decide_an_audit(tmp_path):
    """80 massive rows of 680, as a language model gives them at position 0."""
    sae = SAE("standard", P.D / 2, torch.full((48,), -0.15), 2 * P.D.T, torch.zeros(16))
    bos = 1e3 * P.x[:1].repeat(80, 1)
    np.save(tmp_path / "bos.npy", torch.cat([bos, P.x]).numpy())
    clean = from_path(tmp_path / "bos.npy")
    rest = len(P.x) - clean.left_out.found.get("massive", 0)
    assert clean.left_out.found["repeated"] == 80
    assert torch.equal(clean.x, P.x[clean.row - 80])
    result = audit(sae, clean, tokens=128)
    same = audit(sae, Inputs(clean.x), tokens=128)
    assert [row.fvu for row in result.rows] == [row.fvu for row in same.rows]
    assert len(clean.x) == rest
    assert any("80 repeated" in sentence for sentence in findings(result))


def test_bad_files_are_one_sentence(tmp_path):
    cases = {
        "whole.npy": (np.arange(20).reshape(4, 5), "floating-point numbers, not int64"),
        "flat.npy": (np.ones(5), r"must have shape \(n, M\), or \(sequences, positions, M\), not \(5,\)"),
        "columns.npy": (np.asfortranarray(np.ones((4, 5))), "column by column"),
        "zero.npy": (np.zeros((70, 5), np.float32), "no row is left"),
        "nan.npy": (np.full((70, 5), np.nan), "contains NaN"),
    }
    for name, (value, message) in cases.items():
        np.save(tmp_path / name, value)
        with pytest.raises(ValueError, match=message):
            from_path(tmp_path / name)
    np.save(tmp_path / "cut.npy", np.ones((70, 5)))
    with (tmp_path / "cut.npy").open("r+b") as file:
        file.truncate(1000)
    (tmp_path / "junk.npz").write_bytes(b"nothing")
    (tmp_path / "junk.pt").write_bytes(b"nothing")
    for name in ("cut.npy", "junk.npz", "junk.pt"):
        with pytest.raises(ValueError, match="is damaged"):
            from_path(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="holds no"):
        from_path(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")


def test_what_is_known_of_rows_is_whole_numbers_or_refused(tmp_path):
    refused = {
        "fractions": {"document": DOCUMENT / 10},
        "nan": {"document": torch.where(DOCUMENT == 0, torch.nan, 1.0)},
        "half masked": {"mask": torch.full((n,), 0.5)},
        "names": {"document": [f"page {i}" for i in DOCUMENT]},
        "text": {"document": "page"},
    }
    for name, known in refused.items():
        torch.save({"activations": X, **known}, tmp_path / f"{name}.pt")
        np.savez(tmp_path / f"{name}.npz", activations=X, **{k: np.asarray(v) for k, v in known.items()})
        for kind in ("pt", "npz"):
            with pytest.raises(ValueError, match=rf"{name}\.{kind}: .* must hold whole numbers"):
                from_path(tmp_path / f"{name}.{kind}")
    for known in (DOCUMENT.double(), DOCUMENT.tolist()):
        torch.save({"activations": X, "document": known}, tmp_path / "good.pt")
        assert torch.equal(from_path(tmp_path / "good.pt").document, DOCUMENT)
    # as many documents as activations
    assert torch.equal(Inputs(X, DOCUMENT.tolist()).document, DOCUMENT)
    for known in (DOCUMENT[:-1], DOCUMENT[:, None]):
        with pytest.raises(ValueError, match="one document for each of 90 activations"):
            Inputs(X, known)


def test_damage_that_reading_meets_is_one_sentence(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", activations=X)
        content = bytearray((tmp_path / "x.npz").read_bytes())
        content[1000:1010] = bytes(byte ^ 255 for byte in content[1000:1010])
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.npz is damaged"):
            from_path(tmp_path / "x.npz")
    np.save(tmp_path / "one.npy", np.float32(1))
    np.savez(tmp_path / "one.npz", activations=np.float32(1))
    save_file({"activations": torch.tensor(1.0)}, tmp_path / "one.safetensors")
    torch.save({"activations": X.to_sparse()}, tmp_path / "sparse.pt")
    torch.save({1: X}, tmp_path / "numbered.pt")
    for name, message in {
        "one.npy": "must have shape",
        "one.npz": "must have shape",
        "one.safetensors": "must have shape",
        "sparse.pt": "must be dense",
        "numbered.pt": "no tensor named activations or x; it has 1",
    }.items():
        with pytest.raises(ValueError, match=message):
            from_path(tmp_path / name)


def test_lists_in_parquet_are_of_one_length(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    lists = X.tolist()
    longer = [lists[0][:-1], [*lists[1], 1.0], *lists[2:]]  # as many numbers in all
    none = [lists[0], None, [*lists[2], *lists[2]], *lists[3:]]
    for rows in (longer, none, [None, *lists[1:]]):
        parquet.write_table(pyarrow.table({"activations": rows}), tmp_path / "x.parquet")
        with pytest.raises(ValueError, match=r"are not all \d long|must have shape"):
            from_path(tmp_path / "x.parquet")
    parquet.write_table(pyarrow.table({"counts": [[1, 2]] * n}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="floating-point numbers, not int64"):
        from_path(tmp_path / "x.parquet")


def five_gigabytes(path, width, draw):
    """A .npy file with `draw(count)` in 256 rows of each of 40 places; the rest is a hole, which reads as zeros."""
    rows = 5 * 2**30 // (4 * width)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        file.truncate(offset + rows * width * 4)
        for start in range(0, rows, rows // 39):
            file.seek(offset + start * width * 4)
            file.write(draw(min(256, rows - start)).astype(np.float32).tobytes())
    return rows


AUDIT = """
import resource, sys
from amortgap.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""


@pytest.mark.slow
def test_five_gigabytes_are_audited_in_less_than_two(tmp_path):
    """amortgap audit of 576 -> 4608 on a file of 5 GB: rows are drawn at random, zeros left out, both said."""
    width, path = 576, tmp_path / "x.npy"
    p = SparseProblem(M=width, N=4608, K=16, n=2560, noise=0.05)
    write(SAE("topk", p.D, torch.zeros(4608), p.D.T.contiguous(), torch.zeros(width), k=16), tmp_path / "sae")
    rng = np.random.default_rng(0)
    rows = five_gigabytes(path, width, lambda count: p.x[rng.integers(2560, size=count)].numpy())
    try:
        given = ["audit", str(tmp_path / "sae"), "--activations", str(path), "--tokens", "256"]
        command = [sys.executable, "-c", AUDIT, *given, "--out", str(tmp_path / "page")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout.split()[-1]) < 2000
    finally:
        path.unlink()
    found = json.loads((tmp_path / "page" / "audit.json").read_text())
    # 2^26 numbers are 116 508 rows, of which one in 228 is no hole: 511 +- 23
    assert found["left_out"]["rows"] == rows
    assert 400 < found["activations"]["n"] < 620
    assert f"of {rows} rows were drawn at random" in done.stdout


def test_the_sentence_says_what_became_of_the_rows():
    assert LeftOut(10, 10).sentence() == ""
    assert LeftOut(10, 10, {"massive": 2}).sentence() == (
        "2 of 10 rows are special: 2 massive (norm above 3 times the median). They were left out."
    )
