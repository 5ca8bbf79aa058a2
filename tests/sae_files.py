"""Small SAEs in the files of every project that amortgap.interop reads, written from their layouts alone.

Each writer gives (path, what `read` must be told, activations -> codes in the file's own scale), the last computed
from the definitions of the project, not by amortgap.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.torch import save_file

M, N, K = 6, 11, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


W_ENC, B_ENC, B_DEC = draw(M, N, seed=2), 0.3 * draw(N, seed=3), draw(M, seed=7)
W_DEC = draw(N, M, seed=1) / draw(N, M, seed=1).norm(dim=1, keepdim=True) * torch.linspace(0.5, 2, N)[:, None]
THRESHOLD = draw(N, seed=4).abs()
R_MAG, B_MAG = 0.3 * draw(N, seed=5), draw(N, seed=6)


def relu(x, subtract=True):
    return torch.relu((x - B_DEC if subtract else x) @ W_ENC + B_ENC)


def jump(threshold, subtract):
    def encode(x):
        h = relu(x, subtract)
        return h * (h > threshold)

    return encode


def topk(h):
    values, places = h.topk(K, dim=1)
    return torch.zeros_like(h).scatter(1, places, values)


def gated(x):
    u = (x - B_DEC) @ W_ENC
    return torch.relu(R_MAG.exp() * u + B_MAG) * (u + B_ENC > 0)


def signed(x):
    """Top k by magnitude, the negative ones as latents of their own."""
    h = (x - B_DEC) @ W_ENC + B_ENC
    places = h.abs().topk(K, dim=1).indices
    s = torch.zeros_like(h).scatter(1, places, h.gather(1, places))
    return torch.cat([s.clamp_min(0), (-s).clamp_min(0)], 1)


def layer_norm(x):
    x = x - x.mean(1, keepdim=True)
    return x / (x.std(1, keepdim=True) + 1e-5)


def contiguous(tensors):
    return {
        name: value.contiguous() if isinstance(value, torch.Tensor) else value
        for name, value in tensors.items()
    }


def pair(folder, config_name, config, weights, tensors):
    """A folder of a configuration and weights."""
    (folder / weights).parent.mkdir(parents=True, exist_ok=True)
    if config_name:
        (folder / config_name).write_text(json.dumps(config))
    kind = weights.rpartition(".")[2]
    if kind == "npz":
        np.savez(folder / weights, **{name: value.numpy() for name, value in tensors.items()})
    elif kind in ("pt", "pth"):
        torch.save(contiguous(tensors), folder / weights)
    else:
        save_file(contiguous(tensors), folder / weights)
    return folder


PLAIN = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
LINEAR = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T}


def saelens(architecture, tensors, encode, **config):
    def write(folder):
        about = {"architecture": architecture, "d_in": M, "d_sae": N, "apply_b_dec_to_input": True}
        about |= {"normalize_activations": "none", "metadata": {"sae_lens_version": "6.54.12"}} | config
        return pair(folder, "cfg.json", about, "sae_weights.safetensors", tensors), {}, encode

    return write


def dictionary_learning(kind, tensors, encode):
    def write(folder):
        trainer = {"dict_class": kind, "activation_dim": M, "dict_size": N, "layer": 3, "lm_name": "m"}
        if "k" in tensors:
            trainer["k"] = K
        return pair(folder, "config.json", {"trainer": trainer, "buffer": {}}, "ae.pt", tensors), {}, encode

    return write


def sparsify(encode, **config):
    def write(folder):
        tensors = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
        about = {
            "activation": "topk",
            "k": K,
            "d_in": M,
            "num_latents": N,
            "skip_connection": False,
            "transcode": False,
        }
        return pair(folder, "cfg.json", about | config, "sae.safetensors", tensors), {}, encode

    return write


def state(k, threshold):
    return {"b_dec": B_DEC, "k": torch.tensor(k, dtype=torch.int), "threshold": torch.tensor(threshold)}


def llama_scope(folder):
    config = {
        "d_model": M,
        "d_sae": N,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.4,
        "use_decoder_bias": True,
    }
    config |= {"norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 5.0, "out": 5.0}}
    config |= {"sparsity_include_decoder_norm": True, "top_k": 2, "hook_point_in": "a", "hook_point_out": "a"}
    tensors = LINEAR | {"decoder.bias": B_DEC}
    scale, norms = M**0.5 / 5, W_DEC.norm(dim=1)

    def encode(x):
        h = relu(scale * x, subtract=False)
        # in the units of x, as its makers use it
        return h * (h * norms / scale > 0.4)

    return pair(folder, "hyperparams.json", config, "checkpoints/final.safetensors", tensors), {}, encode


def llamascopium(folder):
    config = {"sae_type": "sae", "d_model": M, "expansion_factor": N / M, "act_fn": "jumprelu"}
    config |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": False}
    config |= {"hook_point_in": "a", "hook_point_out": "a"}
    tensors = {"W_E": W_ENC, "b_E": B_ENC, "W_D": W_DEC, "b_D": B_DEC}
    tensors["activation_function.log_jumprelu_threshold"] = THRESHOLD.log()
    tensors["dataset_average_activation_norm.a"] = torch.tensor(5.0)
    jumped = jump(THRESHOLD, False)
    folder = pair(folder, "config.json", config, "sae_weights.safetensors", tensors)
    return folder, {}, lambda x: jumped(M**0.5 / 5 * x)


def lone(name, tensors, encode, **answers):
    def write(folder):
        return pair(folder, None, None, name, tensors) / name, answers, encode

    return write


def openai(x):
    return topk(relu(layer_norm(x)))


def pursuit(x):
    s, r = torch.zeros(len(x), N), x - B_DEC
    for j in range(len(x)):
        before = -1
        for _ in range(4):
            value, i = (W_DEC @ r[j]).max(0)
            s[j, i] += value.clamp_min(0)
            r[j] = r[j] - value.clamp_min(0) * W_DEC[i]
            if int((s[j] > 0).sum()) == before or r[j].norm() < 0.5:
                break
            before = int((s[j] > 0).sum())
    return s


NORMS = W_DEC.norm(dim=1)
BIAS = LINEAR | {"bias": B_DEC}
GATED = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T, "r_mag": R_MAG, "gate_bias": B_ENC}
GATED |= {"mag_bias": B_MAG, "decoder_bias": B_DEC}
OPENAI = {"pre_bias": B_DEC, "latent_bias": B_ENC, "encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T}
OPENAI |= {"stats_last_nonzero": torch.zeros(N, dtype=torch.long)}
TOPK = {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}
GOODFIRE = {"encoder_linear.weight": W_ENC.T, "encoder_linear.bias": B_ENC}
GOODFIRE |= {"decoder_linear.weight": W_DEC.T, "decoder_linear.bias": B_DEC}
GATED_LENS = {"W_enc": W_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "b_gate": B_ENC, "r_mag": R_MAG, "b_mag": B_MAG}
GROUPS = {"group_sizes": torch.tensor([4, N - 4])}
LOWER = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC, "threshold": THRESHOLD}
PURSUIT = {"max_iterations": 4, "residual_threshold": 0.5, "stop_on_duplicate_support": True}

FILES = {
    "saelens standard": saelens("standard", PLAIN, relu),
    "saelens standard, 'False'": saelens(
        "standard", PLAIN, lambda x: relu(x, False), apply_b_dec_to_input="False"
    ),
    "saelens topk": saelens("topk", PLAIN, lambda x: topk(relu(x)), k=K),
    "saelens topk rescaled": saelens(
        "topk", PLAIN, lambda x: topk(relu(x) * NORMS) / NORMS, k=K, rescale_acts_by_decoder_norm=True
    ),
    "saelens abstopk": saelens("abstopk", PLAIN, signed, k=K),
    "saelens jumprelu": saelens("jumprelu", PLAIN | {"threshold": THRESHOLD}, jump(THRESHOLD, True)),
    "saelens matryoshka_batchtopk": saelens(
        "matryoshka_batchtopk", PLAIN | {"topk_threshold": torch.tensor(0.4)}, jump(0.4, True), k=2.5
    ),
    "saelens gated": saelens("gated", GATED_LENS, gated),
    "saelens matching_pursuit": saelens(
        "matching_pursuit", {"W_dec": W_DEC, "b_dec": B_DEC}, pursuit, **PURSUIT
    ),
    "dictionary_learning AutoEncoder": dictionary_learning("AutoEncoder", BIAS, relu),
    "dictionary_learning AutoEncoderNew": dictionary_learning(
        "AutoEncoderNew", LINEAR | {"decoder.bias": B_DEC}, lambda x: relu(x, False)
    ),
    "dictionary_learning Gated": dictionary_learning("GatedAutoEncoder", GATED, gated),
    "dictionary_learning TopK": dictionary_learning(
        "AutoEncoderTopK", LINEAR | state(K, -1.0), lambda x: topk(relu(x))
    ),
    "dictionary_learning TopK, trained threshold": dictionary_learning(
        "AutoEncoderTopK", LINEAR | state(K, 0.4), lambda x: topk(relu(x))
    ),
    "dictionary_learning BatchTopK": dictionary_learning(
        "BatchTopKSAE", LINEAR | state(K, 0.4), jump(0.4, True)
    ),
    "dictionary_learning Matryoshka": dictionary_learning(
        "MatryoshkaBatchTopKSAE", PLAIN | state(K, 0.4) | GROUPS, jump(0.4, True)
    ),
    "dictionary_learning JumpReLU": dictionary_learning(
        "JumpReluAutoEncoder", PLAIN | {"threshold": THRESHOLD}, jump(THRESHOLD, False)
    ),
    "ae.pt AutoEncoder": lone("ae.pt", BIAS, relu),
    "ae.pt Gated": lone("ae.pt", GATED, gated),
    "ae.pt TopK": lone("ae.pt", LINEAR | state(K, -1.0), lambda x: topk(relu(x))),
    "ae.pt BatchTopK": lone("ae.pt", LINEAR | state(K, 0.4), jump(0.4, True), architecture="batchtopk"),
    "sparsify": sparsify(lambda x: topk(relu(x))),
    "sparsify signed": sparsify(signed, signed=True),
    "Gemma Scope": lone("params.npz", PLAIN | {"threshold": THRESHOLD}, jump(THRESHOLD, False)),
    "Gemma Scope 2": lone("params.safetensors", LOWER, jump(THRESHOLD, False)),
    "Llama Scope": llama_scope,
    "llamascopium": llamascopium,
    "OpenAI": lone("8.pt", OPENAI | TOPK, openai),
    "OpenAI, k as a tensor": lone("8.pt", OPENAI | {"k": torch.tensor(K)}, openai),
    "Goodfire": lone("sae.pth", GOODFIRE, lambda x: relu(x, False)),
    "Qwen Scope": lone(
        "layer0.sae.pt",
        PLAIN | {"W_enc": W_ENC.T, "W_dec": W_DEC.T},
        lambda x: topk(relu(x, False)),
        architecture="topk",
        k=K,
        subtract_b_dec=False,
        normalise="none",
    ),
}
