"""Training on activations that stay on disk, and resuming it."""

import pytest
import torch

import tiny_models
from amortgap.llm import extract, stream
from amortgap.llm.train import ARCHITECTURES, build, train
from amortgap.training import checkpoint, reconstruction_loss, stack
from amortgap.training.stages import resample

M, N = 16, 64
SETTINGS = {"steps": 17, "batch_size": 400, "stages": 2, "lr": 0.01, "log_at": [1, 8, 17], "seed": 3}


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    (folder / "texts").mkdir()
    for i in range(30):
        (folder / "texts" / f"{i:02}.txt").write_text(
            f"Text {i}. " + "The sea is wide, and the boat is small. " * 3
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "SHARD", 512)
        patch.setattr(extract, "BATCH", 128)
        gpt2 = str(tiny_models.save_gpt2(folder / "gpt2"))
        yield stream(gpt2, 2, str(folder / "texts"), 2400, context=32, cache=folder / "cache")


def make(name):
    models = [build(name, M, N, k=4, seed=s) for s in (0, 1)]
    for model in models:
        model.dead_after = 900  # training vectors: some latents count as dead before the end
    return stack(models)


def weights(name):
    return {"l1_weight": torch.tensor([0.1, 0.3])} if ARCHITECTURES[name][2] != "k" else {}


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_it_is_adam_over_the_batches_of_the_stream(on_disk):
    """Written out: epochs in the order of seed + epoch, resampling and a fresh Adam between the stages."""
    model, other = make("ReLU"), make("ReLU")
    history = train(model, on_disk, **SETTINGS, l1_weight=0.2)
    whole = on_disk.count() // 400
    assert 1 < whole < 17  # several epochs
    batches = [x for e in range(18) for x in list(on_disk.batches(400, seed=3 + e))[:whole]]
    probe = next(on_disk.batches(min(8192, on_disk.count()), seed=3))
    adam, losses = torch.optim.Adam(other.parameters(), lr=0.01, fused=True), {}
    for step in range(17):
        adam.zero_grad()
        reconstruction_loss(other, batches[step], 0.2).sum().backward()
        adam.step()
        other.decoder.normalise_()
        losses[step + 1] = reconstruction_loss(other, batches[step + 1], 0.2).detach()
        if step + 1 == 8:
            resample(other, probe, 3)
            adam = torch.optim.Adam(other.parameters(), lr=0.01, fused=True)
    assert same(state(model), state(other))
    assert history.steps == [1, 8, 17]
    assert all(torch.equal(a, losses[s]) for s, a in zip(history.steps, history.loss, strict=True))
    assert history.flops == [s * history.flops[0] for s in history.steps]


@pytest.mark.parametrize("name", ["ReLU", "TopK + AuxK", "BatchTopK", "MLP"])
def test_killed_at_any_moment_it_ends_at_the_same_weights(name, on_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    whole = make(name)
    expected = train(whole, on_disk, **SETTINGS, **weights(name))
    normalise = type(whole.decoder).normalise_
    for kill_at in (1, 2, 8, 9, 16):  # before the first save, after it, around the resampling, before the end
        left = [kill_at]

        def killed(decoder, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            normalise(decoder)

        file = tmp_path / f"{kill_at}.pt"
        monkeypatch.setattr(type(whole.decoder), "normalise_", killed)
        with pytest.raises(KeyboardInterrupt):
            train(make(name), on_disk, **SETTINGS, **weights(name), checkpoint_file=file)
        monkeypatch.setattr(type(whole.decoder), "normalise_", normalise)
        assert file.with_name(f"{kill_at}.pt.0").exists() == (kill_at > 1)
        resumed = make(name)
        found = train(resumed, on_disk, **SETTINGS, **weights(name), checkpoint_file=file)
        assert same(state(whole), state(resumed))
        assert found.steps == expected.steps
        assert all(torch.equal(a, b) for a, b in zip(found.loss, expected.loss, strict=True))


def test_training_in_memory_resumes_across_its_stages(tmp_path, monkeypatch):
    x = torch.randn(600, M, generator=torch.Generator().manual_seed(0))
    settings = {"steps": 12, "stages": 3, "batch_size": 100, "l1_weight": 0.1, "lr": 0.01}
    whole = make("ReLU")
    train(whole, x, **settings)
    normalise = type(whole.decoder).normalise_
    left = [7]

    def killed(decoder):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        normalise(decoder)

    monkeypatch.setattr(type(whole.decoder), "normalise_", killed)
    with pytest.raises(KeyboardInterrupt):
        train(make("ReLU"), x, **settings, checkpoint_file=tmp_path / "run")
    monkeypatch.setattr(type(whole.decoder), "normalise_", normalise)
    resumed = make("ReLU")
    history = train(resumed, x, **settings, checkpoint_file=tmp_path / "run")
    assert same(state(whole), state(resumed))
    assert history.steps == [4, 8, 12]


def test_what_cannot_be_trained_is_refused(on_disk, tmp_path):
    def run(**change):
        model = change.pop("model", None) or make("ReLU")
        return train(model, on_disk, **(SETTINGS | change))

    for change, words in (
        ({"stages": 0}, "stages"),
        ({"batch_size": 10**6}, "batch_size"),
        ({"lr": 0.0}, "lr"),
        ({"l1_weight": -1.0}, "l1_weight"),
        ({"model": build("ReLU", M + 1, N)}, r"shape \(n, 17\)"),
    ):
        with pytest.raises(ValueError, match=words):
            run(**change)
    run(steps=2, checkpoint_file=tmp_path / "a.pt")
    with pytest.raises(ValueError, match="another run"):
        run(steps=2, lr=0.02, checkpoint_file=tmp_path / "a.pt")
    with pytest.raises(FloatingPointError, match="not finite"):
        run(lr=1e30)
