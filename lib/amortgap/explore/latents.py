"""Latents to browse: those that a run on a language model explained, or those of a small SAE on known sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from torch import Tensor

from amortgap.encoders.topk import TopKEncoder
from amortgap.interop import SAE, from_encoder
from amortgap.problem import SparseProblem, unit_columns
from amortgap.solvers import alpha_for, solve
from amortgap.training import fit

#: Signals that the small SAE is looked at on, and the strongest of them that are shown of a latent.
SIGNALS, STRONGEST = 512, 4
#: Rows sort by these, the greatest first but for the number.
ORDERS = {"balanced accuracy": "balanced_0", "frequency": "density_0", "number": "latent"}


def small_sae(N: int, M: int, K: int, seed: int) -> tuple[SAE, SparseProblem]:
    """A TopK SAE trained in a second on signals with known sources, and signals that it has not seen."""
    train = SparseProblem(N, M, min(K, N), n=4096, seed=seed)
    model = TopKEncoder(M, N, k=min(K, N), bias=True, seed=seed)
    fit(model, train.x, steps=1000, batch_size=256, lr=0.01, seed=seed)
    return from_encoder(model), train.sample(SIGNALS, seed + 10_000)


def latents_of(sae: SAE, given: SparseProblem) -> list[dict[str, Any]]:
    """A row for each live latent: number, density, rule and balanced accuracy read off (_0) and solved (_1), HTML.

    The rule of a latent is "source j is active", with the j that tells best when it is active. Solved codes are
    those of the LASSO on the SAE's decoder, at the encoder's mean number of active latents.
    """
    x = given.x
    read = sae.encode(x)
    D = unit_columns(sae.D.T[sae.live].T)
    z = x - sae.b_dec
    found = solve(D, z, alpha_for(D, z[:256], l0=float((read > 0).sum(1).double().mean())), tol=1e-4).codes
    codes = {"read off": read[:, sae.live], "solved": found}
    numbers = sae.live.nonzero().squeeze(1).tolist()
    on = given.codes != 0
    told = {way: _told(s > 0, on) for way, s in codes.items()}
    rows = []
    for i, latent in enumerate(numbers):
        row: dict[str, Any] = {"latent": latent}
        for j, (way, s) in enumerate(codes.items()):
            source, score = told[way][0][i], told[way][1][i]
            row |= {
                f"density_{j}": float((s[:, i] > 0).double().mean()),
                f"balanced_{j}": float(score),
                f"rule_{j}": f"source {int(source)} is active",
            }
        rows.append(row | {"html": _html(row, {way: s[:, i] for way, s in codes.items()}, given.codes)})
    return rows


def matching(rows: Iterable[Mapping[str, Any]], words: str = "", order: str = "number") -> list[Any]:
    """Of the rows of page 11, or of `latents_of`, those whose text holds `words`, in one of the `ORDERS`."""
    key = ORDERS[order]
    kept = [row for row in rows if words.casefold().strip() in str(row["html"]).casefold()]
    return sorted(kept, key=lambda row: row[key], reverse=key != "latent")


def _told(active: Tensor, on: Tensor) -> tuple[Tensor, Tensor]:
    """For each latent the source whose presence tells best when it is active, and the balanced accuracy of that."""
    a, b = active.double(), on.double()
    hit = b.T @ a / a.sum(0).clamp_min(1)
    spared = (1 - b).T @ (1 - a) / (1 - a).sum(0).clamp_min(1)
    best = ((hit + spared) / 2).max(0)
    return best.indices, best.values


def _html(row: Mapping[str, Any], codes: Mapping[str, Tensor], sources: Tensor) -> str:
    most = max(float(values.max()) for values in codes.values()) or 1.0
    heads = "; ".join(
        f"{way}: {row[f'rule_{j}']}, balanced accuracy {row[f'balanced_{j}']:.2f}, "
        f"active on {row[f'density_{j}']:.1%}"
        for j, way in enumerate(codes)
    )
    lines = []
    for at in sum(codes.values()).argsort(descending=True)[:STRONGEST].tolist():  # type: ignore[union-attr]
        values = sources[at]
        said = ", ".join(f"{i}: {values[i]:.2f}" for i in values.nonzero().squeeze(1).tolist())
        shades = " ".join(
            f'{way} <mark style="--s:{float(s[at]) / most:.2f}">{float(s[at]):.2f}</mark>'
            for way, s in codes.items()
        )
        lines.append(f'<p class="text">{shades}, sources {said}</p>')
    return (
        f'<details class="latent" data-latent="{row["latent"]}"><summary>Latent {row["latent"]}: '
        f"{escape(row['rule_0'])}</summary>\n<p>{escape(heads)}.</p>\n" + "\n".join(lines) + "\n</details>"
    )
