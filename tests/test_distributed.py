"""One SAE in several processes: the weights of one process, also when it is killed and goes on with others."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tiny_models
from amortgap._files import digest, lock
from amortgap.audit.shards import audit_shards
from amortgap.interop import from_encoder
from amortgap.llm import distributed, extract, lanes, store, stream
from amortgap.llm.distributed import main, parser, read, run
from amortgap.llm.train import build
from amortgap.training import Cosine, fit
from amortgap.training.distributed import fit_distributed

STEPS, LANES, SIZE = 24, 4, 6
#: Shards of 128 tokens, so that there are some; training stands still after STAND_STILL steps, to be killed.
SMALL = """
import os, time
from amortgap.llm import distributed, extract, lanes
extract.SHARD, extract.BATCH = 128, 64
whole = lanes.batches
def some(*given):
    for i, x in enumerate(whole(*given)):
        if i == int(os.environ["STAND_STILL"]):
            time.sleep(600)
        yield x
lanes.batches = some
distributed.main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "texts").mkdir()
    for i in range(20):
        text = " ".join(f"Text {i:02}, line {j}: the sea is wide." for j in range(4))
        (folder / "texts" / f"{i:02}.txt").write_text(text)
    tiny_models.save_gpt2(folder / "gpt2")
    (folder / "small.py").write_text(SMALL)
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "SHARD", 128)
    monkeypatch.setattr(extract, "BATCH", 64)


def arguments(place: Path) -> dict[str, Any]:
    return {
        "model": str(place / "gpt2"),
        "layer": 2,
        "corpus": str(place / "texts"),
        "n_tokens": 2000,
        "context": 32,
        "seed": 3,
    }


def start(place: Path, out: str, processes: int, *options: str, still: int = -1) -> subprocess.Popen[str]:
    given = {**arguments(place), "cache": place / f"cache_{out}", "out": place / out}
    given |= {"latents": 32, "k": 4, "steps": STEPS, "batch_size": LANES * SIZE, "lanes": LANES}
    given |= {"lr": 0.01, "dtype": "float64", "save_every": 5}
    words = [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), str(value))]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    return subprocess.Popen(
        [*torchrun, str(place / "small.py"), *words, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "STAND_STILL": str(still)},
    )


def one_process(place: Path, name: str, l1_weight: float) -> dict[str, torch.Tensor]:
    """`fit` on whole batches, without anything of `training.distributed`."""
    data = stream(**arguments(place), cache=place / "cache_alone")
    model = build(name, 16, 32, k=4, seed=3).double()
    fit(
        model,
        lambda first: lanes.batches(data, list(range(LANES)), LANES, SIZE, 3, first),
        steps=STEPS,
        lr=Cosine(0.01),
        l1_weight=l1_weight,
    )
    return dict(model.state_dict())


# Sums in another order: 1e-16 of a gradient, which Adam divides by its own size.
def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-9, rtol=1e-9, msg=lambda said, name=name: name + said
        )


@pytest.mark.parametrize(
    ("name", "l1_weight", "processes", "split"),
    [("ReLU", 0.1, 2, 1), ("TopK", 0.0, 4, 2), ("ReLU", 0.1, 2, 2)],
)
def test_it_ends_at_the_weights_of_one_process(
    place: Path, name: str, l1_weight: float, processes: int, split: int
) -> None:
    out = f"{name}_{processes}_{split}"
    done = start(
        place, out, processes, "--architecture", name, "--l1-weight", str(l1_weight), "--split", str(split)
    )
    said, _ = done.communicate(timeout=200)
    assert done.returncode == 0, said
    model, mean, scale = read(place / out)
    assert_same(dict(model.state_dict()), one_process(place, name, l1_weight))
    data = stream(**arguments(place), cache=place / "cache_alone")
    # each has measured its share, and sums are added in the same order
    assert scale == data.scale
    assert torch.equal(mean, data.mean)
    for file in data.folder.glob("0*.safetensors"):  # each process extracted its share of them
        other = place / f"cache_{out}" / "activations" / data.folder.name / file.name
        assert torch.equal(store.read(other)[0]["hidden"], store.read(file)[0]["hidden"])


def test_killed_it_goes_on_with_other_processes(place: Path) -> None:
    killed = start(place, "killed", 4, "--split", "2", still=8)
    try:
        while not list((place / "killed").glob("step_*")):
            assert killed.poll() is None, killed.communicate()[0]
            time.sleep(0.05)
    finally:
        # torchrun's processes have groups of their own
        for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
            process.kill()
        killed.communicate()
    assert not (place / "killed" / "encoder.safetensors").exists()
    # half of a checkpoint is no checkpoint
    (place / "killed" / ".step_000000999").mkdir()
    done = start(place, "killed", 2)
    said, _ = done.communicate(timeout=200)
    assert done.returncode == 0, said
    assert_same(dict(read(place / "killed")[0].state_dict()), one_process(place, "TopK", 0.0))


def test_another_run_does_not_go_on_from_a_folder(place: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"lr": "0.1"}')
    options = parser().parse_args(["--latents", "32", "--steps", "1", "--out", str(tmp_path)])
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="holds another run; name another folder with --out"):
            run(options)
        for name, value, reason in (
            ("lanes", 3, "3 lanes must divide the batch of 1024"),
            ("split", 2, "split = 2 must divide the 1 processes"),
            ("k", 33, "K must be a whole number between 1 and N = 32"),
        ):
            # before anything is extracted
            given = argparse.Namespace(**{**vars(options), name: value, "corpus": "nowhere"})
            with pytest.raises(ValueError, match=reason):
                run(given)
        for name, reason in (("BatchTopK", "keeps account of whole batches"), ("Gated", "cannot be split")):
            with pytest.raises(ValueError, match=reason):
                fit_distributed(build(name, 16, 32, k=4), lambda first: iter(()), steps=1, split=2)
        with pytest.raises(ValueError, match="split = 2 must divide the 1 processes"):
            fit_distributed(build("ReLU", 16, 32), lambda first: iter(()), steps=1, split=2)
        nan = torch.full((4, 16), torch.nan)
        with pytest.raises(FloatingPointError, match="not finite after step 2"):
            fit_distributed(build("ReLU", 16, 32), lambda first: itertools.repeat(nan), steps=2)
    finally:
        dist.destroy_process_group()


class Runs:
    """What a pickle from elsewhere can do: it writes to a file as soon as it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.write_text, (self.file, "it ran")


def test_checkpoints_are_read_without_pickles_and_whole_or_not_at_all(tmp_path: Path) -> None:
    x = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    ran = tmp_path / "ran"
    evil = pickle.dumps(Runs(ran))

    def steps(count: int) -> dict[str, torch.Tensor]:
        return fit_distributed(
            build("ReLU", 16, 32), lambda first: itertools.repeat(x), steps=count, folder=tmp_path / "run"
        )

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        steps(2)
        saved = tmp_path / "run" / "step_000000002"
        noted, file = sorted(saved.iterdir())
        assert (noted.name, file.suffix) == ("digests_000000.json", ".safetensors")
        digests = noted.read_bytes()
        tensors, about = load_file(file), safe_open(file, "pt").metadata()
        whole = file.read_bytes()
        (saved / ".metadata").write_bytes(evil)
        uninterrupted = fit_distributed(build("ReLU", 16, 32), lambda first: itertools.repeat(x), steps=3)
        assert_same(steps(3), uninterrupted)
        assert not ran.exists()

        def refused(damaged: bytes, digests: bytes = b"") -> None:
            shutil.rmtree(tmp_path / "run")
            saved.mkdir(parents=True)
            file.write_bytes(damaged)
            noted.write_bytes(digests or json.dumps({file.name: digest(file)}).encode())
            (saved / ".metadata").write_bytes(evil)
            with pytest.raises(ValueError, match=f"{saved} is damaged or of another version"):
                steps(4)
            assert not ran.exists()

        refused(whole[:-1])
        refused(b"")
        flipped = bytearray(whole)
        flipped[-1] ^= 1
        refused(bytes(flipped), digests)
        refused(whole, b"[]")
        save_file(tensors | {"model.W": tensors["model.W"][:-1].contiguous()}, file, about)
        refused(file.read_bytes())
        # the part of another process, whose file is missing
        ((key, places),) = ((key, json.loads(said)) for key, said in about.items() if "model.W" in said)
        (of_w,) = places["model.W"]
        about |= {key: json.dumps(places | {"model.W": {of_w: [1, 0]}})}
        save_file(tensors | {"model.W": tensors["model.W"][1:].contiguous()}, file, about)
        refused(file.read_bytes())
        file.unlink()
        (saved / "__0_0.distcp").write_bytes(evil)
        with pytest.raises(ValueError, match="damaged or of another version"):
            steps(4)
        assert not ran.exists()
    finally:
        dist.destroy_process_group()


@pytest.fixture
def one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun says to the only process of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in world.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("one_rank")
def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(SystemExit, match="is in use by another process"):
        main(["--latents", "32", "--steps", "1", "--out", str(tmp_path)])
    assert not (tmp_path / "settings.json").exists()


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError("pair.cc:553] Connection closed by peer"), "another process of the run has ended"),
        (PermissionError(13, "Permission denied", "shards"), "Permission denied: 'shards'"),
    ],
)
def test_a_process_ends_with_a_sentence(
    raised: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(options: argparse.Namespace) -> None:
        # others may extract, or measure, for hours
        backend = dist.group.WORLD._get_backend(torch.device("cpu"))
        assert backend.options._timeout >= timedelta(days=1)
        raise raised

    monkeypatch.setattr(distributed, "run", failing)
    with pytest.raises(SystemExit, match=said):
        main(["--latents", "32", "--steps", "1", "--out", str(tmp_path)])


@pytest.mark.usefixtures("one_rank")
def test_a_refused_run_leaves_the_folder_to_another(place: Path, tmp_path: Path) -> None:
    given = arguments(place) | {"latents": 32, "k": 4, "steps": 1, "cache": place / "cache_alone"}
    given |= {"out": tmp_path, "batch_size": 96, "lanes": 96}
    words = [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), str(value))]
    with pytest.raises(SystemExit, match="use fewer lanes"):
        main(words)
    assert not (tmp_path / "settings.json").exists()
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(SystemExit, match="damaged, so whose checkpoints are there is not known"):
        main(words)
    with pytest.raises(SystemExit, match="is a file, not a folder to write to"):
        main([*words, "--out", str(tmp_path / "settings.json")])


@pytest.mark.usefixtures("one_rank")
def test_a_run_on_other_activations_does_not_go_on(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "texts", tmp_path / "texts")
    given = arguments(place) | {
        "corpus": tmp_path / "texts",
        "cache": tmp_path / "cache",
        "out": tmp_path / "run",
    }
    given |= {"latents": 32, "k": 4, "steps": 1, "batch_size": 8, "lanes": 4}
    words = [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), str(value))]
    main(words)
    main([*words, "--save-every", "7"])
    settings = tmp_path / "run" / "settings.json"
    noted = settings.read_bytes()
    text = tmp_path / "texts" / "00.txt"
    text.write_text(text.read_text().replace("sea", "sky"))
    with pytest.raises(SystemExit, match="a run on text or a model that have changed since"):
        main(words)
    assert settings.read_bytes() == noted
    for damaged in ("{", "[1]", "7"):
        settings.write_text(damaged)
        with pytest.raises(SystemExit, match="is damaged, so whose checkpoints are there is not known"):
            main(words)


def test_a_shard_under_the_name_of_another_is_made_again(place: Path, tmp_path: Path) -> None:
    data = stream(**arguments(place), cache=place / "cache_alone")
    folder = tmp_path / "activations" / data.folder.name
    shutil.copytree(data.folder, folder)
    first, second, third = (folder / f"0000{i}.safetensors" for i in range(3))
    expected = store.read(second)[0]["hidden"].clone()  # what is read is the file itself
    shutil.copy(first, second)
    # as earlier versions wrote it
    tensors, about = store.read(third)
    about.pop("shard")
    store.write(third, tensors, about)
    earlier = third.read_bytes()
    with pytest.warns(UserWarning, match="holds another shard") as warned:
        lanes.extract_share(0, 1, **arguments(place), cache=tmp_path)
    assert sum("computed again" in str(one.message) for one in warned) == 1
    assert third.read_bytes() == earlier
    # not the same file: it may name its digest before or after its description
    assert torch.equal(store.read(second)[0]["hidden"], expected)


def test_parts_of_a_batch_are_the_same_whoever_reads_them(place: Path) -> None:
    data = stream(**arguments(place), cache=place / "cache_alone")
    assert len(list(data.folder.glob("0*.safetensors"))) >= 2 * LANES
    whole = lanes.batches(data, list(range(LANES)), LANES, SIZE, 0, 0)
    epoch = lanes.steps_of_epoch(data, LANES, SIZE)
    expected = [next(whole) for _ in range(2 * epoch)]
    for first, readers in ((0, [[0, 2], [1, 3]]), (epoch + 1, [[0], [1], [2], [3]])):
        parts = [lanes.batches(data, mine, LANES, SIZE, 0, first) for mine in readers]
        for x in expected[first : first + 3]:
            assert sorted(row for part in parts for row in next(part).tolist()) == sorted(x.tolist())
    # each vector once an epoch
    every = Counter(tuple(row) for x in data.batches(SIZE) for row in x.tolist())
    assert Counter(tuple(row) for x in expected[:epoch] for row in x.tolist()) <= every
    with pytest.raises(ValueError, match="fewer than the 5000 of its part of a batch"):
        lanes.steps_of_epoch(data, LANES, 5000)


def test_an_audit_reads_the_shards_and_takes_the_encoder(place: Path) -> None:
    data = stream(**arguments(place), cache=place / "cache_alone")
    model = build("TopK", 16, 32, k=4, seed=1)
    result = audit_shards(from_encoder(model).on_raw(data.mean, data.scale), data.folder)
    files = sorted(data.folder.glob("0*.safetensors"))
    raw = torch.cat([store.read(file)[0]["hidden"] for file in files])
    assert result.left_out.found == {"position 0": len(raw)}
    assert (result.tokens, result.shards) == (len(raw) * 31, len(files))
    x = ((raw[:, 1:].flatten(0, 1) - data.mean) / data.scale).double()
    error = (x - model.decode(model.encode(x)).detach()).square().sum()
    encoder = result.rows[0]
    assert encoder.method == "encoder"
    # float32
    assert encoder.fvu == pytest.approx(float(error / (x - x.mean(0)).square().sum()), rel=1e-5)
    # a document in two shards counts twice
    of_shards = data.tokens.document.split([len(store.read(file)[0]["hidden"]) for file in files])
    assert (result.resampled, result.groups) == ("documents", sum(len(d.unique()) for d in of_shards))


def test_the_command_says_what_it_takes() -> None:
    given = parser().parse_args(["--latents", "64", "--steps", "10", "--out", "x"])
    assert (given.latents, given.architecture, given.split, given.lanes) == (64, "TopK", 1, 8)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *itertools.product(
            ("--split", "--lanes", "--steps", "--latents", "--k", "--n-tokens"), ("0", "-1", "x")
        ),
        *itertools.product(("--batch-size", "--save-every"), ("0", "1.5")),
        *itertools.product(("--lr", "--l1-weight"), ("nan", "inf", "-1", "x")),
    ],
)
def test_a_value_that_no_run_can_have_is_refused(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--latents", "32", "--steps", "1", "--out", str(tmp_path), f"{option}={value}"]
    with pytest.raises(SystemExit) as refused:
        main(given)
    assert refused.value.code == 2
    assert option in capsys.readouterr().err.splitlines()[-1]
