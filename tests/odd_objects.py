"""Calls of functions that train, read files, or take an SAE or a model, for the table of inputs (`test_inputs`).

A call takes what a user gives, by the names of `KINDS`, makes the objects that the function wants of it, and checks
what comes back against a few lines of its own.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats
from scipy.optimize import nnls

import tiny_models
from amortgap import audit, gap, heads, improve, interop, kit, llm, training
from amortgap._check import as_tensor
from amortgap.encoders import ENCODERS
from amortgap.heads import HEADS
from amortgap.problem import SparseProblem
from amortgap.solvers import prepare

#: Public names of these modules that are records, parts of what is tried, or draw on a figure.
RECORDS = {
    *(
        "Cosine",
        "History",
        "Found",
        "Proposal",
        "Rung",
        "AuditResult",
        "Inputs",
        "LeftOut",
        "Loss",
        "Row",
        "Scored",
    ),
    *(
        "AdamW",
        "fit_until_still",
        "ImproveResult",
        "Way",
        "Activations",
        "LanguageModel",
        "Split",
        "Stream",
        "Refused",
    ),
    # of one step of training, which fit calls; names of what can be read
    *("learning_rate", "reconstruction_loss", "supervised_loss", "snapshot", "architectures"),
    # into axes, from tables of the kit: test_figures
    *("band", "dots", "heat_map", "log_ticks", "marks", "style", "beside"),
    # of values and tables of the kit, for claims: test_kit
    *(
        "chance_winner",
        "difference",
        "distance",
        "mean",
        "one_more",
        "same_winner",
        "slope",
        "whole",
        "show_html",
    ),
    # what on_same_decoder collects
    "each_row",
}
ROOM = tempfile.TemporaryDirectory()
numbers = itertools.count()


def folder() -> Path:
    """One that is not there yet."""
    return Path(ROOM.name) / str(next(numbers))


def double(value: Any) -> np.ndarray:
    return (value.detach().double().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)).astype(
        float
    )


# training


def an_encoder(w: Any) -> torch.nn.Module:
    return encoder_of(w, w.draw(st.sampled_from(sorted(ENCODERS))), w.draw(st.integers(0, 5)))


def encoder_of(w: Any, kind: str, seed: int) -> torch.nn.Module:
    options: dict[str, Any] = {"k": min(2, w.N)} if ENCODERS[kind].sparsity == "k" else {}
    if w.draw(st.integers(0, 3)) == 0:
        options["D"] = torch.from_numpy(w.unit())
    return ENCODERS[kind](w.M, w.N, seed=seed, pre_bias=w.draw(st.booleans()), **options)


def some_encoders(w: Any) -> list[torch.nn.Module]:
    kinds = w.draw(st.lists(st.sampled_from(["relu", "topk"]), max_size=3))
    kinds = kinds[:1] * len(kinds) if w.draw(st.integers(0, 3)) else kinds
    return [encoder_of(w, kind, seed) for seed, kind in enumerate(kinds)]


def fit(
    encoder: Any, x: Any, true_codes: Any, l1_weight: Any, lr: Any, steps: int, batch_size: Any, seed: Any
) -> Any:
    before, model = copy.deepcopy(encoder).double(), copy.deepcopy(encoder)
    history = training.fit(
        *(model, x),
        codes=true_codes,
        l1_weight=l1_weight,
        lr=lr,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        log_at=[0],
    )
    if batch_size is None and true_codes is None and not hasattr(encoder, "training_pass"):
        # the paper's loss in float64, on x as the model reads it
        with torch.no_grad():
            z = torch.as_tensor(x).to(torch.float32).double()
            s = before.encode(z)
            loss = (z - before.decode(s)).square().mean() + float(l1_weight) * s.abs().mean()
        assert math.isclose(
            float(history.loss[0]), float(loss), rel_tol=1e-3, abs_tol=1e-6 * float(z.square().mean())
        )
    return history.loss, list(model.parameters())


def fit_in_stages(encoder: Any, x: Any, steps: int, stages: Any, seed: Any) -> Any:
    model = copy.deepcopy(encoder)
    history = training.fit_in_stages(model, x, steps=steps, stages=stages, seed=seed, probe=lambda _: x)
    assert history.steps == [steps * (i + 1) // stages for i in range(stages)]
    return list(model.parameters())


def resample_dead(encoder: Any, x: Any, seed: Any) -> Any:
    model = copy.deepcopy(encoder)
    dead = training.resample_dead(model, x, seed=seed)
    with torch.no_grad():
        silent = (encoder.encode(torch.as_tensor(x).float()) == 0).all(0)
    assert not (dead & ~silent).any()
    assert torch.equal(model.decoder.D[:, ~dead], encoder.decoder.D[:, ~dead])
    assert torch.allclose(model.decoder.D[:, dead].norm(dim=0), torch.ones(()), atol=1e-5)
    return dead, list(model.parameters())


def stack(encoders: Any) -> Any:
    stacked = training.stack(encoders)
    for i, one in enumerate(encoders):
        assert torch.equal(stacked.decoder.D[i], one.decoder.D)
    return list(stacked.parameters())


def unstack(encoder: Any, index: Any) -> Any:
    one = training.unstack(training.stack([encoder, encoder]), index)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), encoder.parameters(), strict=True))
    return list(one.parameters())


# heads


def check_proposal(h: Any, codes: np.ndarray, ratio: float, found: Any) -> None:
    h = double(h)
    for row, (scores, code) in enumerate(zip(h, codes, strict=True)):
        own = np.flatnonzero(code > 0)
        width = min(math.ceil(len(own) * ratio), h.shape[1])
        chosen = found.candidates[row, :width].tolist()
        assert int(found.k[row]) == len(own)
        assert int(found.width[row]) == width
        assert len(set(chosen)) == width
        assert set(chosen[: len(own)]) == set(own)
        rest = [scores[i] for i in set(range(len(scores))) - set(own)]
        # ties in any order
        assert sorted(scores[i] for i in chosen[len(own) :]) == sorted(rest)[len(rest) - width + len(own) :]


def propose(h: Any, activity: Any, ratio: Any) -> Any:
    h, activity = as_tensor(h, "h"), as_tensor(activity, "codes")
    found = heads.propose(h, activity, ratio)
    check_proposal(h, double(activity), float(ratio), found)
    return found.amplitude


def propose_top(h: Any, K: Any, ratio: Any) -> Any:
    h = as_tensor(h, "h")
    found = heads.propose_top(h, K, ratio)
    scores = double(h)
    order = np.sort(scores, axis=1)[:, ::-1]
    # which of equal ones, is left open
    if not (order[:, :-1] == order[:, 1:]).any():
        codes = np.where(scores >= order[:, [int(K) - 1]], np.maximum(scores, 0), 0)
        check_proposal(h, codes, float(ratio), found)
    return found.amplitude


def code(D: Any, x: Any, h: Any, activity: Any, ratio: Any, own_head: str) -> Any:
    # heads look at no entry, because a device would wait; who reads what a user gives does
    x, h, activity = as_tensor(x, "x"), as_tensor(h, "h"), as_tensor(activity, "codes")
    given = prepare(D)
    proposal = heads.propose(h, activity, ratio)
    found = HEADS[own_head](given, x, proposal)
    codes = double(proposal.codes(found.values, given.shape[1]))
    room = max(1e-3, 10 * torch.finfo(x.dtype).eps), torch.finfo(x.dtype).smallest_normal
    check_amplitudes(double(given.D), double(x), codes, (double(activity) > 0).sum(1), *room)
    return found.values, found.left


def check_amplitudes(
    D: np.ndarray, x: np.ndarray, codes: np.ndarray, most: np.ndarray, room: float, grid: float = 0
) -> None:
    """Least squares on its support, no more latents than `most`; amplitudes below `grid` lose their digits."""
    assert (codes >= 0).all()
    assert ((codes > 0).sum(1) <= most).all()
    for one, s in zip(x, codes, strict=True):
        best = nnls(D[:, s > 0], one)[1] if s.any() else np.linalg.norm(one)
        size = np.abs(D).max() * s.sum() + np.linalg.norm(one)
        assert np.linalg.norm(one - D @ s) <= best + room * (size + grid * np.abs(D[:, s > 0]).sum())


def improved(sae: Any, head: Any, ratio: Any, x: Any) -> Any:
    module = heads.Improved(sae, head, ratio)
    codes, own = module.encode(x), double(sae.encode(torch.as_tensor(x).float()))
    assert ((double(codes) > 0).sum(1) <= (own > 0).sum(1)).all()
    z = double(codes) @ double(sae.W_dec) + double(sae.b_dec)
    assert np.allclose(double(module(x)), z, rtol=1e-2, atol=1e-2 * np.abs(z).max(initial=1e-30))
    return codes


def load_improved(sae: Any, head: Any, damage: Any) -> Any:
    place = folder()
    module = heads.Improved(sae, head)
    module.save(place)
    damaged = harm(place, damage)
    found = heads.load(place)
    assert not damaged
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), module.parameters(), strict=True))
    return list(found.parameters())


def harm(place: Path, damage: Any) -> bool:
    """Whether a file of the folder was damaged: (which, how)."""
    which, how = damage
    path = sorted(p for p in place.rglob("*") if p.is_file())[which]
    content = path.read_bytes()
    harmed = {
        "none": content,
        "cut": content[: len(content) // 2],
        "empty": b"",
        "flip": content[:-9] + bytes([content[-9] ^ 16]) + content[-8:],
        "text": b"{}",
    }[how]
    path.write_bytes(harmed)
    return how != "none"


# interop


def an_sae(w: Any) -> interop.SAE:
    """One that works."""
    fields = parts_of_sae(w)
    return interop.SAE(**fields)


def parts_of_sae(w: Any) -> dict[str, Any]:
    kind = w.draw(st.sampled_from(sorted(interop.architectures())))
    draw = torch.Generator().manual_seed(w.draw(st.integers(0, 99)))
    N, M = w.N, w.M
    W_dec = torch.randn(N, M, generator=draw)
    vectors = {"threshold": kind == "jumprelu", "r_mag": kind == "gated", "b_mag": kind == "gated"}
    return {
        "architecture": kind,
        "W_enc": W_dec.T if kind == "matching_pursuit" else torch.randn(M, N, generator=draw),
        "b_enc": torch.randn(N, generator=draw) / 4,
        "W_dec": W_dec,
        "b_dec": torch.randn(M, generator=draw),
        "k": float(min(2, N)) if kind in ("topk", "batchtopk", "matching_pursuit") else None,
        "subtract_b_dec": w.draw(st.booleans()),
    } | {name: torch.rand(N, generator=draw) for name, there in vectors.items() if there}


def make_sae(architecture: Any, W_enc: Any, b_enc: Any, W_dec: Any, b_dec: Any, k: Any, x: Any) -> Any:
    sae = interop.SAE(architecture, W_enc, b_enc, W_dec, b_dec, k)
    codes = sae.encode(x)
    if architecture == "standard":
        pre = (double(x) - double(b_dec)) @ double(W_enc) + double(b_enc)
        s = np.maximum(pre, 0) * np.linalg.norm(double(W_dec), axis=1)
        assert np.allclose(double(codes), s, rtol=2e-2, atol=2e-2 * np.abs(s).max(initial=1e-30))
    return codes


def from_encoder(encoder: Any) -> Any:
    sae = interop.from_encoder(encoder)
    with torch.no_grad():
        x = torch.randn(5, encoder.decoder.D.shape[0], generator=torch.Generator().manual_seed(0))
        if sae.architecture not in ("batchtopk", "matching_pursuit"):
            assert torch.allclose(sae.encode(x), encoder.encode(x), atol=1e-5)
    return sae.W_enc, sae.W_dec


def write_and_read(
    sae: Any, damage: Any, architecture: Any, k: Any, subtract_b_dec: Any, normalise: Any
) -> Any:
    place = folder()
    interop.write(sae, place)
    # a flipped bit of a number is another number, which the format cannot tell
    which, how = damage
    damaged = harm(place, (which, "none" if how == "flip" else how))
    found = interop.read(place, architecture, k, subtract_b_dec, normalise)
    assert not damaged
    assert torch.allclose(found.W_dec * found.norms[:, None] / found.norms[:, None], found.W_dec)
    x = torch.randn(5, sae.M, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found.encode(x), sae.encode(x), atol=1e-4)
    return found.W_enc, found.W_dec


# gap


def on_same_decoder(D: Any, x: Any, activity: Any, alpha: Any, h: Any, tol: Any) -> Any:
    rows = gap.on_same_decoder(D, x, activity, alpha, h=h, tol=tol)
    atoms, signals = double(prepare(D).D), double(x)
    error = {name: ((signals - double(s) @ atoms.T) ** 2).sum(1) for name, s in rows.items()}
    size = (signals**2).sum(1) + 1e-30
    assert (error["own support"] <= error["encoder"] + 1e-3 * size).all()
    assert (error["L1 support"] <= error["L1"] + 1e-3 * size).all()
    assert (double(rows["own support"])[double(activity) <= 0] == 0).all()
    return list(rows.values())


def excess_objective(D: Any, x: Any, activity: Any, alpha: Any, tol: Any) -> Any:
    found = gap.excess_objective(D, x, activity, alpha, tol=tol)
    # nothing is below the optimum by more than the certified gap, and zero codes have 1/2 |x|^2
    assert (double(found) >= -2 * float(tol) - 1e-3).all()
    return found


def decompose(problem: Any, alpha: Any, activity: Any, learned_D: Any, tol: Any) -> Any:
    rows = gap.decompose(
        *(problem, alpha),
        supervised=activity,
        known=activity,
        learned=activity,
        learned_D=learned_D,
        restarts=1,
        adam_steps=3,
        tol=tol,
    )
    assert [row.name for row in rows[:7]] == list(gap.LADDER)
    mse = {row.name: row.mse for row in rows}
    x, s = double(problem.x), double(activity)
    assert math.isclose(mse["supervised encoder"], ((x - s @ double(problem.D).T) ** 2).mean(), rel_tol=1e-3)
    return [row.mcc for row in rows if row.mcc is not None]


# audit and improve


def an_input(n: int) -> Callable[[Any], Any]:
    return lambda w: w.given(w.rng.standard_normal((n, w.M)))


def some_documents(n: int) -> Callable[[Any], Any]:
    return lambda w: w.draw(st.none() | st.just(torch.arange(n) // w.draw(st.integers(1, 40))))


def audit_it(sae: Any, tokens_of: Any, documents: Any, tokens: Any, tol: Any, seed: Any) -> Any:
    result = audit.audit(sae, audit.Inputs(tokens_of, documents), tokens=tokens, tol=tol, seed=seed)
    rows = {row.method: row for row in result.rows if row.decoder == "SAE"}
    for row in rows.values():
        assert row.low - 1e-9 <= row.fvu <= row.high + 1e-9 or not math.isfinite(row.low)
    assert rows["own support"].fvu <= rows["encoder"].fvu + 1e-3
    return [row.fvu for row in result.rows]


def from_path(tokens_of: Any, extension: Any, keep_all: Any, seed: Any, limit: Any, damage: Any) -> Any:
    place = folder()
    place.mkdir()
    path = place / f"x{extension}"
    if extension == ".npy":
        np.save(path, np.asarray(tokens_of.double() if torch.is_tensor(tokens_of) else tokens_of))
    elif extension == ".npz":
        np.savez(path, x=np.asarray(tokens_of.double() if torch.is_tensor(tokens_of) else tokens_of))
    else:
        save_file({"x": torch.as_tensor(tokens_of).contiguous()}, path)
    how = damage[1]
    damaged = harm(place, (0, "none" if how == "flip" else how))
    found = audit.from_path(path, keep_all=keep_all, seed=seed, limit=limit)
    assert not damaged
    given = double(tokens_of).reshape(-1, found.x.shape[1])[found.row.numpy()]
    assert np.allclose(double(found.x), given, rtol=1e-5, atol=1e-30)
    return found.x


def improve_it(
    sae: Any, tokens_of: Any, documents: Any, share: Any, cost: Any, tokens: Any, seed: Any
) -> Any:
    found = improve.improve(
        sae,
        audit.Inputs(tokens_of, documents),
        share=share,
        cost=cost,
        tokens=tokens,
        seed=seed,
        baseline_seconds=0.01,
    )
    ways = {way.name: way for way in found.test}
    assert ways[found.chosen].l0 <= ways["encoder"].l0 + 1e-9
    return [way.fvu for way in found.test]


# language models


@functools.cache
def tiny() -> Any:
    place = folder()
    tiny_models.save_gpt2(place)
    texts = folder()
    texts.mkdir()
    for i in range(20):
        (texts / f"{i:02}.txt").write_text(f"Text {i}. " + "The sea is wide, the boat is small. " * 3)
    return llm.load(str(place)), place, texts


def load_model(model_name: Any, device_name: Any, dtype_name: Any, untrained: Any) -> Any:
    path = tiny()[1] if model_name == "tiny" else model_name
    lm = llm.load(str(path), device_name, dtype_name, untrained)
    assert lm.model.config.n_embd == 16
    return list(lm.model.parameters())


def activations(layer: Any, n_tokens: Any, context: Any, seed: Any) -> Any:
    lm, _, texts = tiny()
    found = llm.activations(lm, layer, str(texts), n_tokens, context, seed, cache=folder())
    x = found.train.x.double()
    assert math.isclose(float(x.square().sum(1).mean()), x.shape[1], rel_tol=1e-3)
    assert float(x.mean(0).abs().max()) < 1e-3
    return found.train.x, found.test.x


def streamed(layer: Any, n_tokens: Any, context: Any, seed: Any, batch_size: Any) -> Any:
    lm, _, texts = tiny()
    found = llm.stream(lm, layer, str(texts), n_tokens, context, seed, cache=folder())
    batches = list(found.batches(7 if batch_size is None else batch_size, seed=seed))
    whole = llm.activations(lm, layer, str(texts), n_tokens, context, seed, cache=folder()).train.x
    together = torch.cat(batches)
    assert torch.allclose(together.sum(1).sort()[0], whole.sum(1).sort()[0], atol=1e-3)
    return batches


def texts_of(corpus: Any) -> Any:
    found = llm.texts(str(tiny()[2]) if corpus == "texts" else corpus)
    assert [one.text[:5] for one in found] == ["Text "] * 20
    return [len(one.text) for one in found]


def tokens_of_texts(n_tokens: Any, context: Any, seed: Any) -> Any:
    lm, _, texts = tiny()
    found = llm.tokens(str(texts), lm.tokenizer, n_tokens, context, seed)
    assert found.windows.numel() >= n_tokens
    assert found.windows.shape[1] == context
    return found.windows, found.document


def a_window(w: Any) -> torch.Tensor:
    return torch.from_numpy(w.rng.integers(0, 256, (2, 8)))


def read_layer(windows: Any, layer: Any) -> Any:
    lm = tiny()[0]
    with torch.no_grad():
        found = llm.read(lm, windows, layer)
        if str(layer) in ("0", "1", "2"):
            states = lm.model(windows, output_hidden_states=True).hidden_states
            assert torch.allclose(found, states[int(layer)], atol=1e-5)
    return found


def cross_entropy(windows: Any, layer: Any) -> Any:
    lm = tiny()[0]
    found = llm.cross_entropy(lm, windows, layer, lambda x: x)
    with torch.no_grad():
        log = lm.model(windows.long()).logits.double().log_softmax(-1)[:, :-1]
    expected = -log.gather(2, windows[:, 1:, None].long()).mean()
    assert math.isclose(found, float(expected), rel_tol=1e-4)
    return found


@functools.cache
def some_activations() -> Any:
    lm, _, texts = tiny()
    return llm.activations(lm, 1, str(texts), 600, 32, cache=folder())


def save_and_load(n: Any, n_windows: Any, seed: Any, damage: Any) -> Any:
    place = folder()
    place.mkdir()
    llm.save(some_activations(), place / "sample.safetensors", n, n_windows, seed)
    damaged = harm(place, (0, damage[1]))
    found = llm.from_file(place / "sample.safetensors")
    assert not damaged
    assert len(found.train.x) <= n + 1
    return found.train.x, found.mean


# kit


def a_table(w: Any) -> Any:
    n = w.draw(st.integers(0, 6))
    odd = w.draw(st.sampled_from([0.5, math.nan, math.inf, "text", None, 1 + 1j, [1], np.float32(2), 10**30]))
    values = [*w.rng.standard_normal(n), *([odd] if w.draw(st.integers(0, 2)) == 0 else [])]
    return pd.DataFrame({"method": [f"m{i % 2}" for i in range(len(values))], "score": values})


def interval(values: Any, scale_name: Any) -> Any:
    found = kit.interval(values, scale_name)
    v = np.asarray(values.double() if torch.is_tensor(values) else values, float).ravel()
    assert found.low <= found.mean <= found.high
    if scale_name == "plain":
        low, high = stats.t.interval(0.95, len(v) - 1, v.mean(), stats.sem(v)) if v.std() else (v.mean(),) * 2
        assert np.allclose([found.low, found.high], [low, high], rtol=1e-6, atol=1e-9 * np.abs(v).max())
    return tuple(found)


def summarise(rows: Any, of: Any) -> Any:
    found = kit.summarise(rows, "method", of)
    means = rows.groupby("method", sort=False)[of].mean()
    assert np.allclose(found[of].astype(float), means.astype(float))
    return found[["low", "high"]].to_numpy(float)


def record_table(rows: Any, table_name: Any) -> Any:
    place = folder()
    found = kit.Record(place).table(table_name, rows)
    assert sorted(path.name for path in place.iterdir()) == [f"{table_name}.json"]
    assert len(found) == len(rows)
    for a, b in zip(rows.score, found.score, strict=True):
        assert a == b or math.isclose(a, b, rel_tol=1e-8) or (a != a and b != b)
    return len(found)


def published(experiment: Any) -> Any:
    found = kit.published(experiment=experiment)
    assert (found.experiment == experiment).all()
    return found.value.to_numpy()


CALLS: dict[str, Any] = {
    "training.fit": fit,
    "training.fit_in_stages": fit_in_stages,
    "training.resample_dead": resample_dead,
    "training.stack": stack,
    "training.unstack": unstack,
    "heads.propose": propose,
    "heads.propose_top": propose_top,
    "heads.HEADS": code,
    "heads.Improved": improved,
    "heads.load": load_improved,
    "interop.SAE": make_sae,
    "interop.from_encoder": from_encoder,
    "interop.read": write_and_read,
    "gap.on_same_decoder": on_same_decoder,
    "gap.excess_objective": excess_objective,
    "gap.decompose": decompose,
    "audit.audit": audit_it,
    "audit.from_path": from_path,
    "improve.improve": improve_it,
    "llm.load": load_model,
    "llm.activations": activations,
    "llm.stream": streamed,
    "llm.texts": texts_of,
    "llm.tokens": tokens_of_texts,
    "llm.read": read_layer,
    "llm.cross_entropy": cross_entropy,
    "llm.save": save_and_load,
    "kit.interval": interval,
    "kit.summarise": summarise,
    "kit.Record": record_table,
    "kit.published": published,
}
#: Tried by the call of another name.
WITHIN = {"heads.proposal_of": "heads.Improved", "interop.write": "interop.read", "llm.from_file": "llm.save"}
WITHIN |= {"audit.from_model": "llm.activations"}
MODULES = ("training", "heads", "interop", "gap", "audit", "improve", "llm", "kit")
#: Of what takes long, its part of the cases that each of the library's functions has.
SHARE = {
    "audit.audit": 0.15,
    "improve.improve": 0.1,
    "gap.decompose": 0.1,
    "llm.activations": 0.2,
    "llm.stream": 0.3,
    "llm.load": 0.3,
    "supports.at_count": 0.2,
    # few of its draws are right: K and method must both be
    "sensing.l1_success_rate": 3,
}
#: What is drawn whole, and odd in its own way.
WHOLE = {"encoder", "encoders", "sae", "problem", "damage", "extension", "rows", "model_name", "own_head"}


def choose(*values: Any) -> Any:
    return lambda w: w.draw(st.sampled_from(values))


KINDS: dict[str, Any] = {
    "encoder": an_encoder,
    "encoders": some_encoders,
    "true_codes": lambda w: w.draw(st.none() | st.just(w.given(w.codes))),
    "lr": choose(1e-3, 0.01, training.Cosine(0.01)),
    "batch_size": choose(None, None, 1),
    "stages": choose(1, 2),
    "index": choose(0, 1),
    "h": lambda w: w.given(w.array(w.n, w.N)),
    "activity": lambda w: w.given(np.abs(w.array(w.n, w.N)) * (w.rng.random((w.n, w.N)) < 0.6)),
    "ratio": choose(1, 1.5, 2, 4.0),
    "head": choose(*HEADS),
    "own_head": choose(*HEADS),
    "sae": an_sae,
    "damage": lambda w: (
        w.draw(st.integers(0, 1)),
        w.draw(st.sampled_from(["none"] * 4 + ["cut", "empty", "flip", "text"])),
    ),
    "architecture": choose(None),
    "k": choose(None),
    "subtract_b_dec": choose(None),
    "normalise": choose(None),
    "problem": lambda w: SparseProblem(4, 3, 1, n=w.n, seed=w.draw(st.integers(0, 9))),
    "learned_D": lambda w: w.given(w.unit()),
    "tokens": choose(40, 1024),
    "share": choose(None, 0.5),
    "cost": choose(None, None, 2.0),
    "extension": choose(".npy", ".npz", ".safetensors"),
    "keep_all": choose(True, False),
    "limit": choose(2**26, 40),
    "model_name": choose("tiny", "tiny", "tiny", "/nowhere", "/nowhere.gguf"),
    "device_name": choose("cpu"),
    "dtype_name": choose("float32", "bfloat16"),
    "untrained": choose(None, 1),
    "layer": choose(0, 1, 2, "1", "blocks.1.hook_mlp_out", "none such", 9),
    "n_tokens": choose(300, 600),
    "context": choose(16, 32),
    "corpus": choose("texts", "texts", "/nowhere"),
    "windows": a_window,
    "n_windows": choose(1, 8),
    "rows": a_table,
    "values": lambda w: w.given(w.array(w.draw(st.integers(1, 6)))),
    "scale_name": choose("plain", "score", "log", "none such"),
    "of": choose("score"),
    "table_name": choose("results", "a_1", "A", "../x", "claims", ""),
    "experiment": choose("E1", "E9", "none such"),
}
OWN: dict[str, dict[str, Any]] = {
    "heads.HEADS": {"D": lambda w: w.given(w.unit())},
    "interop.SAE": {
        "architecture": choose("standard", "standard", "topk", "none such"),
        "W_enc": lambda w: w.given(w.array(w.M, w.N)),
        "b_enc": lambda w: w.given(w.array(w.N)),
        "W_dec": lambda w: w.given(w.array(w.N, w.M)),
        "b_dec": lambda w: w.given(w.array(w.M)),
        "k": choose(None, 1),
    },
    "audit.audit": {"tokens_of": an_input(100), "documents": some_documents(100)},
    "improve.improve": {"tokens_of": an_input(300), "documents": some_documents(300)},
    "audit.from_path": {"tokens_of": an_input(20)},
    "llm.save": {"n": choose(20, 100)},
    "kit.interval": {"values": lambda w: w.array(w.draw(st.integers(1, 6)))},
    "kit.summarise": {"rows": lambda w: pd.DataFrame({"method": [*"aabb"], "score": w.array(4)})},
    "training.fit_in_stages": {"x": lambda w: torch.from_numpy(w.x).float()},
    "gap.decompose": {
        "activity": lambda w: w.given(np.abs(w.array(w.n, 4))),
        "learned_D": lambda w: w.given((lambda D: D / np.linalg.norm(D, axis=0))(w.array(3, 4))),
    },
}
