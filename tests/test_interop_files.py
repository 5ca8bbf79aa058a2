"""Files of other projects: read right, or refused; never silently misread."""

from __future__ import annotations

import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from amortgap.interop import SAE, read, write
from sae_files import B_DEC, FILES, LINEAR, PLAIN, THRESHOLD, K, M, N, pair, relu, state, topk
from sae_files import draw as tensor

x = 2 * tensor(30, M, seed=9)
every_file = pytest.mark.parametrize("name", FILES)


def codes(sae):
    """In the file's own scale; a latent whose decoder row is zero has none."""
    return sae.encode(sae.prepare(x)[0]) / torch.where(sae.live, sae.norms, 1)


def weights_of(place):
    if place.is_file():
        return place
    return next(file for file in place.rglob("*") if file.suffix != ".json" and file.is_file())


def content_of(file):
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)


def put(file, content):
    if file.suffix == ".npz":
        np.savez(file, **{name: value.numpy() for name, value in content.items()})
    elif file.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in content.items()}, file)
    else:
        torch.save(content, file)


@every_file
def test_codes_are_those_of_its_project(name, tmp_path):
    place, answers, encode = FILES[name](tmp_path)
    sae = read(place, **answers)
    expected = encode(x)
    assert expected.count_nonzero() > 10
    torch.testing.assert_close(codes(sae), expected, rtol=1e-5, atol=1e-5)
    # the weights alone, named in their folder, are read with the folder's configuration
    torch.testing.assert_close(codes(read(weights_of(place), **answers)), expected, rtol=1e-5, atol=1e-5)
    # half precision is read, too
    file = weights_of(place)
    halves = {
        n: v.bfloat16() if torch.is_tensor(v) and v.is_floating_point() else v
        for n, v in content_of(file).items()
    }
    if file.suffix != ".npz" and "k" not in halves:
        put(file, halves)
        assert read(place, **answers).W_enc.dtype == torch.float32


def perturbations(name, draw):
    """What may have gone wrong with a file: (what, change of its tensors, change of its configuration)."""
    wrong = draw.choice(["rename", "drop", "add", "k", "boolean"])

    def tensors(content):
        names = [one for one, value in content.items() if torch.is_tensor(value)]
        one = draw.choice(names)
        if wrong == "rename":
            content[draw.choice(["w_" + one, one + "_old", one.upper() + "x"])] = content.pop(one)
        if wrong == "drop":
            del content[one]
        if wrong == "add":
            content[draw.choice(["W_skip", "b_extra", "log_sparsity", "encoder_glu"])] = content[one].clone()
        if wrong == "k" and "k" in content:
            content["k"] = torch.tensor(draw.choice([0, -3, N + 1]))
        return content

    def config(about):
        inner = about.get("trainer", about)
        if wrong == "k" and any(one in inner for one in ("k", "top_k", "max_iterations")):
            inner["k"] = draw.choice([0, -3, N + 1, 2.75, "five", True, K + 1])
        if wrong == "boolean":
            for one, value in inner.items():
                if isinstance(value, bool):
                    inner[one] = draw.choice([str(value), str(value).lower(), "perhaps"])
        return about

    return wrong, tensors, config


@pytest.mark.parametrize("part", range(10))
def test_files_gone_wrong_are_read_right_or_refused(part, tmp_path):
    """300 files: each is refused in one sentence, or its codes are those of the file before."""
    draw, refused = random.Random(part), 0
    for i in range(30):
        name = draw.choice(list(FILES))
        place, answers, encode = FILES[name](tmp_path / str(i))
        wrong, tensors, config = perturbations(name, draw)
        file = weights_of(place)
        put(file, tensors(content_of(file)))
        k_changed = False
        for about in [] if place.is_file() else place.glob("*.json"):
            before = json.loads(about.read_text())
            after = config(json.loads(about.read_text()))
            k_changed = wrong == "k" and before != after
            about.write_text(json.dumps(after))
        try:
            sae = read(place, **answers)
        except ValueError as error:
            refused += "\n" not in str(error)
            continue
        if k_changed and sae.architecture == "topk" and sae.k == K + 1:
            continue  # as the file says now
        torch.testing.assert_close(codes(sae), encode(x), rtol=1e-5, atol=1e-5, msg=f"{name}: {wrong}")
    assert refused > 10


def test_what_a_lone_file_leaves_open_is_asked(tmp_path):
    cases = {
        # the two top-k classes of dictionary_learning have the same names
        "ae.pt": (LINEAR | state(K, 0.4), "does not say architecture"),
        # half of the world subtracts b_dec
        "sae.pt": (PLAIN | {"threshold": THRESHOLD}, "does not say subtract_b_dec, normalise"),
        "other.pt": (
            LINEAR | {"decoder.bias": B_DEC},
            "does not say architecture, subtract_b_dec, normalise",
        ),
        "plain.npz": (PLAIN, "does not say architecture, subtract_b_dec, normalise"),
        "sae.safetensors": (
            {"encoder.weight": LINEAR["encoder.weight"], "encoder.bias": PLAIN["b_enc"]}
            | {"W_dec": PLAIN["W_dec"], "b_dec": B_DEC},
            "does not say architecture",
        ),
    }
    for name, (tensors, message) in cases.items():
        pair(tmp_path, None, None, name, tensors)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)
    told = read(tmp_path / "sae.safetensors", "topk", K)
    torch.testing.assert_close(codes(told), topk(relu(x)), rtol=1e-5, atol=1e-5)
    # without a b_dec to subtract, the question does not come up
    pair(tmp_path, None, None, "zero.pt", PLAIN | {"b_dec": torch.zeros(M)})
    assert read(tmp_path / "zero.pt", "standard", normalise="none").subtract_b_dec


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    def refused(name, message, tensors=None, drop=(), **change):
        folder = tmp_path / str(random.random())
        place, _, _ = FILES[name](folder)
        for about in place.glob("*.json"):
            about.write_text(json.dumps(json.loads(about.read_text()) | change))
        file = weights_of(place)
        put(file, {n: v for n, v in content_of(file).items() if n not in drop} | (tensors or {}))
        with pytest.raises(ValueError, match=message):
            read(place)
        shutil.rmtree(folder)

    for kind in ("temporal", "transcoder", "skip_transcoder", "crosscoder"):
        refused("saelens standard", f"it is a {kind} .*, which is not read", architecture=kind)
    refused("sparsify", "its activation is groupmax, which is not read", activation="groupmax")
    refused("sparsify", "skip connection", tensors={"W_skip": torch.zeros(M, M)}, skip_connection=True)
    refused("sparsify", "it is a transcoder", transcode=True)
    refused("sparsify", "says num_latents = 12, but its tensors 11", num_latents=12)
    refused("Llama Scope", "it is no SAE but a transcoder", hook_point_out="b")
    refused("Llama Scope", "norm_activation 'batch-wise' is not one of", norm_activation="batch-wise")
    refused("Llama Scope", "dataset_average_activation_norm is nowhere", dataset_average_activation_norm=None)
    refused(
        "saelens jumprelu",
        "normalisation 'covariance_whitening'",
        normalize_activations="covariance_whitening",
    )
    refused(
        "dictionary_learning TopK",
        "config.json says k = 5, but ae.pt says 3",
        trainer={"dict_class": "AutoEncoderTopK", "k": 5},
    )
    refused(
        "dictionary_learning TopK",
        "its class 'IdentityDict' is not one of",
        trainer={"dict_class": "IdentityDict"},
    )
    refused(
        "saelens topk",
        "its configuration says k = 5, and k = 3 in activation_fn_kwargs",
        k=5,
        activation_fn_kwargs={"k": 3},
    )
    refused("saelens topk", "activation_fn_kwargs must be a JSON object", activation_fn_kwargs="k")
    refused("saelens topk", "amortgap_input_scale must be above 0", amortgap_input_scale=0)
    place, _, _ = FILES["saelens topk"](tmp_path / "topk")
    with pytest.raises(ValueError, match=r"k = 4.0 was asked for, but the file says 3.0"):
        read(place, k=4)
    (place / "sae.safetensors").write_bytes((place / "sae_weights.safetensors").read_bytes())
    with pytest.raises(ValueError, match="holds several SAEs"):
        read(place)


def put_nan(content, name):
    content[name] = torch.full_like(content[name], torch.nan)


@pytest.mark.parametrize(
    ("name", "tensors", "config", "message"),
    [
        (
            "dictionary_learning BatchTopK",
            lambda c: put_nan(c, "threshold"),
            None,
            "threshold must be a number",
        ),
        ("saelens matryoshka_batchtopk", lambda c: put_nan(c, "topk_threshold"), None, "must be a number"),
        (
            "dictionary_learning JumpReLU",
            lambda c: c.update(threshold=torch.ones(1)),
            None,
            "threshold must have",
        ),
        (
            "dictionary_learning JumpReLU",
            lambda c: c.update(threshold=c["threshold"][None]),
            None,
            "must have",
        ),
        (
            "saelens matching_pursuit",
            lambda c: c.update(W_dec=c["W_dec"][None]),
            None,
            "W_dec must be a matrix",
        ),
        ("Goodfire", lambda c: c.update({"encoder_linear.weight": torch.ones(())}), None, "must be a matrix"),
        ("ae.pt BatchTopK", lambda c: c.update(k=torch.ones(2)), None, "k must be a number"),
        ("OpenAI", lambda c: c.update(activation=[1]), None, "its activation"),
        ("OpenAI", lambda c: c.update(activation_state_dict=[1]), None, "of a kind that no rule allows"),
        ("dictionary_learning Gated", None, lambda a: a["trainer"].update(dict_class=[]), "its class"),
        ("dictionary_learning Gated", None, lambda a: a.update(trainer="x"), "of a kind that no rule allows"),
        ("Llama Scope", None, lambda a: a.update(act_fn=["jumprelu"]), "of a kind that no rule allows"),
        ("Llama Scope", None, lambda a: a.update(norm_activation=[]), "of a kind that no rule allows"),
        ("sparsify", None, lambda a: a.update(activation=["topk"]), "of a kind that no rule allows"),
        ("sparsify", None, lambda a: json.dumps(a)[:-1] + ', "k": 7}', "'k' stands twice"),
    ],
)
def test_values_of_no_kind_a_rule_knows_are_refused(name, tensors, config, message, tmp_path):
    place, answers, _ = FILES[name](tmp_path)
    if tensors:
        file = weights_of(place)
        content = content_of(file)
        tensors(content)
        put(file, content)
    if config:
        (about,) = place.glob("*.json")
        inside = json.loads(about.read_text())
        about.write_text(config(inside) or json.dumps(inside))
    with pytest.raises(ValueError, match=message) as error:
        read(place, **answers)
    assert "\n" not in str(error.value)


def test_answers_in_python_are_read_as_in_files(tmp_path):
    pair(tmp_path, None, None, "plain.npz", PLAIN)
    for no in (False, "false", "False", 0):
        assert read(tmp_path / "plain.npz", "topk", K, no, "none").subtract_b_dec is False
    assert read(tmp_path / "plain.npz", "topk", str(K), "true", "none").subtract_b_dec is True
    with pytest.raises(ValueError, match="subtract_b_dec must be true or false, not 'no'"):
        read(tmp_path / "plain.npz", "topk", K, "no", "none")
    with pytest.raises(ValueError, match="k must be a number, not True"):
        read(tmp_path / "plain.npz", "topk", True, True, "none")


def test_arrays_of_every_kind_are_read_right_or_refused(tmp_path):
    arrays = {name: value.numpy() for name, value in PLAIN.items()}
    file = tmp_path / "x.npz"
    told = ("topk", K, True, "none")
    right = {"note": np.array("mine")} | {name: value.astype(">f4") for name, value in arrays.items()}
    np.savez(file, **(arrays | right))
    assert torch.equal(read(file, *told).W_dec, PLAIN["W_dec"])
    for W_dec, message in (
        (arrays["W_dec"].astype(np.longdouble), "W_dec must hold numbers of at most 64 bits"),
        (arrays["W_dec"].astype(object), "W_dec is damaged, or holds objects"),
        (arrays["W_dec"].astype(str), "W_dec must hold numbers"),
    ):
        np.savez(file, **(arrays | {"W_dec": W_dec}))
        with pytest.raises(ValueError, match=message):
            read(file, *told)
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="it is damaged, or not the kind of file that its name says"):
        read(file, *told)
    torch.save(PLAIN | {"W_dec": PLAIN["W_dec"].to_sparse()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="W_dec must be dense"):
        read(tmp_path / "x.pt", *told)
    torch.save(PLAIN | {1: B_DEC}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="it holds 1, which no rule for such an SAE uses"):
        read(tmp_path / "x.pt", *told)


def test_a_changed_byte_in_a_torch_file_is_seen(tmp_path):
    weights = PLAIN | {"b_dec": B_DEC}
    file = tmp_path / "sae.pt"
    torch.save(weights, file)
    answers = {"architecture": "standard", "subtract_b_dec": True, "normalise": "none"}
    read(file, **answers)
    content = bytearray(file.read_bytes())
    place = content.index(weights["W_dec"].numpy().tobytes()) + 6
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        read(file, **answers)


def test_metadata_are_what_json_holds(tmp_path):
    """Python writes and reads NaN in what it calls JSON; it must not stop an audit at its end."""
    sae = SAE("standard", torch.ones(2, 3), torch.ones(3), torch.ones(3, 2), torch.ones(2))
    for value in (float("nan"), float("inf"), torch.ones(1), {1}):
        with pytest.raises(ValueError, match="metadata"):
            replace(sae, metadata={"loss": value})
    write(sae, tmp_path / "one")
    config = json.loads((tmp_path / "one" / "cfg.json").read_text())
    for place, value in ((config["metadata"], float("nan")), (config, float("-inf"))):
        place["loss"] = value
    (tmp_path / "one" / "cfg.json").write_text(json.dumps(config))
    found = read(tmp_path / "one")
    assert found.metadata == {"loss": "NaN"}
    write(found, tmp_path / "two")
    assert read(tmp_path / "two").metadata == {"loss": "NaN"}
    config["d_sae"] = float("nan")
    (tmp_path / "one" / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="d_sae must be a number"):
        read(tmp_path / "one")


def test_pickles_run_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"W_enc": Evil()}, tmp_path / "sae.pt")
    with pytest.raises(ValueError, match="could run code"):
        read(tmp_path / "sae.pt")
    assert not (tmp_path / "ran").exists()


@every_file
def test_a_zero_decoder_row_is_kept_and_never_chosen(name, tmp_path):
    place, answers, _ = FILES[name](tmp_path)
    file = weights_of(place)
    content = content_of(file)
    decoder = next(
        one for one in ("W_dec", "w_dec", "W_D", "decoder.weight", "decoder_linear.weight") if one in content
    )
    row = content[decoder].T if content[decoder].shape == (M, N) else content[decoder]
    row[2] = 0
    put(file, content)
    sae = read(place, **answers)
    s = sae.encode(sae.prepare(x)[0])
    assert torch.isfinite(s).all()
    assert torch.isfinite(sae.D).all()
    dead = (~sae.live).nonzero()[:, 0].tolist()
    assert dead == ([2, N + 2] if sae.N == 2 * N else [2])
    assert not s[:, dead].any()


def test_an_sae_on_the_hub_needs_saelens(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(FileNotFoundError, match=r"SAE\.from_pretrained\('gpt2', 'blocks\.8'\)\.save_model"):
        read("gpt2:blocks.8")

    # with it, what SAELens saves is read
    class Found:
        @classmethod
        def from_pretrained(cls, release, name):
            assert (release, name) == ("gpt2", "blocks.8/x")
            return cls()

        def save_model(self, folder):
            FILES["saelens topk"](Path(folder))

    monkeypatch.setitem(sys.modules, "sae_lens", type(sys)("sae_lens"))
    sys.modules["sae_lens"].SAE = Found
    torch.testing.assert_close(codes(read("gpt2:blocks.8/x")), topk(relu(x)), rtol=1e-5, atol=1e-5)
