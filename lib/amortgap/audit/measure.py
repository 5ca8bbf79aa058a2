"""The numbers of an audit: an encoder beside better inference on its own decoder, and on a random one."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_count, check_tol, generator
from amortgap.agreement import jaccard, shaken
from amortgap.audit.agreement import agreements, proved
from amortgap.audit.groups import check_documents, groups
from amortgap.audit.inputs import Inputs, check_varied, fitting
from amortgap.audit.loss import model_loss
from amortgap.audit.result import AuditResult, Lost, Row, Scored
from amortgap.audit.rows import Decoder, Measured, batches, decode, measure, to_rows
from amortgap.audit.ways import OWN_COUNT, STEPS, Ways
from amortgap.gap import excess_objective
from amortgap.interop import SAE
from amortgap.problem import unit_columns
from amortgap.solvers import Prepared, alpha_for, prepare
from amortgap.solvers.omp import refusal as no_omp

#: Tokens that set alpha; none of them is scored.
CALIBRATION = 256
#: Scored tokens, evenly spaced, on which codes are compared (a regression takes the cube), and on which the random
#: decoder is scored, at most.
COMPARED_ON, RANDOM_ON = 512, 1024
#: bytes kept beside a dictionary: a Gram matrix of 32 768 columns, the largest that is made, fits
MEMORY = 5 * 2**30
#: ways whose codes are compared with the encoder's, and those that are tried in a language model
COMPARED = ("L1", "OMP", OWN_COUNT, "pursuit among 4k")
SPLICED = ("encoder", "own support", "L1", "L1 support", "OMP", "pursuit among 2k", "pursuit among 4k")
#: ways that begin with the encoder's code, but are timed without it
FROM_THE_CODE = {"own support", OWN_COUNT, *STEPS.values(), *(f"{name}, refitted" for name in STEPS.values())}
#: ways to code on the random decoder
RANDOM = ("encoder", "own support", "L1", "L1 support", "OMP")
SHOWN = 10  # tokens and latents that lose most


def audit(sae: SAE, given: Inputs, *, tokens: int = 1024, tol: float = 1e-4, seed: int = 0) -> AuditResult:
    """All numbers of an audit.

    Documents (tokens, where no documents are known) are split in two: alpha is set on one part so that the L1
    codes have the encoder's mean L0, and `tokens` of the other are coded and scored. Intervals are 95 % bootstrap
    intervals over documents, or over blocks of 32 rows where fewer than twelve are scored. FVU is measured
    in the SAE's own input space. A row that cannot be computed is left out; `missing` says why.

    Raises ValueError for activations that do not fit the SAE, are too few or all the same, and for an encoder that
    uses no latent.
    """
    tokens, tol = check_count(tokens, "tokens", 2), check_tol(tol)
    generator(seed)
    x = fitting(sae, given, 64, "an audit")
    check_documents(given.document, len(x))
    sae = sae.to(x.device).calibrated(x)
    used, counts = _used(sae, x)
    density = used.double() / len(x)
    first, second = _halves(given.document, len(x), seed)
    first, second = first[:CALIBRATION], second[:tokens].sort()[0]
    z_first, z = sae.prepare(x[first])[0], sae.prepare(x[second])[0]
    check_varied(z, "the activations that are scored")
    group, resampled = groups(given.document, len(x), second)
    group = group[second].to(x.device)
    sparsity = float(counts[first].double().mean())
    if not sparsity > 0:
        raise ValueError(
            "the encoder uses 0 latents on average; are these the activations the SAE was trained on?"
        )
    missing: dict[str, str] = {}
    few, fewer = (_spread(len(z), most).to(z.device) for most in (RANDOM_ON, COMPARED_ON))
    # first, so that only one Gram matrix is held at a time
    random = _random(sae, z_first, z[few], group[few], sparsity, tol, seed, missing)
    D, k = _prepare(sae.D.T[sae.live].T, z), max(1, round(float(counts[second].double().mean())))
    ways = _ways(sae, D, z_first - sae.b_dec, sparsity, k, tol, missing)
    own = Decoder("SAE", D.D, sae.b_dec)
    found = measure(own, ways.encode, ways, z, (*COMPARED, "encoder"), fewer)
    for name in FROM_THE_CODE & set(found):
        found[name].seconds += found["encoder"].seconds
    rows = to_rows(own, found, z, group, seed) + random
    compared = {name: one.codes for name, one in found.items() if one.kept}
    return AuditResult(
        sae=_facts(sae),
        activations=given.about
        | {"n": len(x), "documents": None if given.document is None else len(given.document.unique())},
        scored=Scored(
            tokens=len(z),
            resampled=resampled,
            groups=len(group.unique()),
            compared=len(fewer),
            random=len(few),
            alpha=ways.alpha,
            worst_gap=None if ways.alpha is None else ways.worst_gap,
            tol=tol,
        ),
        l0=float(found["encoder"].l0.mean()),
        dead=float((used == 0).double().mean()),
        density=density.cpu().tolist(),
        excess=[] if ways.alpha is None else _excess(ways, ways.alpha, z, found["L1"]),
        rows=rows,
        agreement=agreements(compared),
        proved=None
        if ways.alpha is None
        else proved(D, z[fewer] - sae.b_dec, compared["encoder"], compared["L1"], ways.alpha),
        stability=_stability(ways, z[fewer], compared, seed),
        lost=_lost(found, given, second, z, sae.live, second[fewer.cpu()]),
        missing=missing,
        loss=model_loss(given, partial(reconstructions, sae, ways)) if given.model is not None else None,
        left_out=given.left_out,
    )


def _spread(n: int, most: int) -> Tensor:
    """At most so many of n tokens, evenly spaced."""
    return torch.arange(min(n, most)) * n // min(n, most)


def _used(sae: SAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """On how many activations x (n, M) each latent is active, (N,), and how many are on each, (n,)."""
    used, counts = torch.zeros(sae.N, dtype=torch.long, device=x.device), []
    for rows in batches(len(x)):
        active = sae.encode(sae.prepare(x[rows])[0]) > 0
        used += active.sum(0)
        counts.append(active.sum(1))
    return used, torch.cat(counts)


def _prepare(D: Tensor, x: Tensor) -> Prepared:
    """With the Gram matrix of its unit columns, which the pursuits look up, where they do."""
    given = prepare(D, MEMORY)
    if no_omp(x, D.shape[1]) is None:
        given.cosines(x.dtype)
    return given


def _excess(ways: Ways, alpha: float, z: Tensor, l1: Measured) -> list[float]:
    """Of the encoder's codes of z (n, M), given the LASSO's, batch by batch."""
    best, found = 0.5 * l1.error + alpha * l1.sum, []
    for rows in batches(len(z)):
        x = z[rows] - ways.sae.b_dec
        found += excess_objective(ways.D, x, ways.encode(z[rows]), alpha, best=best[rows]).cpu().tolist()
    return found


def _alpha(D: Prepared, x: Tensor, sparsity: float) -> float | str:
    """alpha at which the LASSO has this mean L0, or why there is none."""
    if sparsity > min(D.shape):
        return f"no LASSO solution on M = {D.shape[0]} dimensions has the encoder's {sparsity:.0f} latents"
    try:
        return alpha_for(D, x, l0=sparsity)
    except ValueError as error:
        return f"no alpha gives the LASSO the encoder's mean L0 of {sparsity:g}: {error}"


def _ways(
    sae: SAE, D: Prepared, x: Tensor, sparsity: float, k: int, tol: float, missing: dict[str, str]
) -> Ways:
    """alpha comes from the calibration tokens x and their mean L0; k is that of the scored ones."""
    alpha = _alpha(D, x, sparsity)
    if isinstance(alpha, str):
        missing["L1, L1 support and steps"] = alpha
    if k > D.shape[0]:
        missing["pursuits among all latents"] = (
            f"{k} latents a token are more than M = {D.shape[0]}, and linearly dependent"
        )
    return Ways(sae, D, None if isinstance(alpha, str) else alpha, k if k <= D.shape[0] else None, tol)


def _random(
    sae: SAE,
    z_first: Tensor,
    z: Tensor,
    group: Tensor,
    sparsity: float,
    tol: float,
    seed: int,
    missing: dict[str, str],
) -> list[Row]:
    """Unit columns that nobody trained, about the calibration tokens' mean, read by their transpose."""
    draw = torch.Generator().manual_seed(seed)
    W = unit_columns(torch.randn(sae.M, sae.N, generator=draw)).T.contiguous().to(z.device)
    b, k = z_first.mean(0), max(1, round(sparsity))
    other = SAE("topk", W.T, W.new_zeros(sae.N), W, b, k=min(k, sae.N))
    D = _prepare(W.T, z)
    alpha = _alpha(D, z_first - b, sparsity)
    if isinstance(alpha, str):
        missing["L1 on the random decoder"] = alpha
    ways = Ways(other, D, None if isinstance(alpha, str) else alpha, k if k <= sae.M else None, tol)
    decoder = Decoder("random", D.D, b)
    found = measure(decoder, ways.encode, partial(ways, wanted=RANDOM), z)
    found["own support"].seconds += found["encoder"].seconds
    return to_rows(decoder, found, z, group, seed)


def _facts(sae: SAE) -> dict[str, Any]:
    facts = {"architecture": sae.architecture, "M": sae.M, "N": sae.N, "k": sae.k}
    about = {str(name): value for name, value in sae.metadata.items() if isinstance(value, str | int | float)}
    norms = [float(sae.norms.min()), float(sae.norms.max())]
    return facts | {"input normalisation": sae.normalise, "decoder norms": norms} | about


def _stability(ways: Ways, z: Tensor, codes: dict[str, Tensor], seed: int) -> dict[str, float]:
    """Way -> Jaccard of its supports before and after one per cent of noise, on every other of the tokens."""
    moved = shaken(z[::2], seed)
    again = ways(moved, ways.encode(moved), codes)
    return {name: jaccard(codes[name][::2], s) for name, s, _ in again}


def _lost(
    found: dict[str, Measured], given: Inputs, scored: Tensor, z: Tensor, live: Tensor, compared: Tensor
) -> Lost | None:
    """scored, compared: numbers of the scored activations z (n, M), and of those whose codes were kept."""
    first, other = found["encoder"], found.get(OWN_COUNT)
    if other is None:
        return None

    def where(i: int) -> dict[str, Any]:
        text = given.text(i)
        row = {"row": i if given.row is None else int(given.row[i])}
        return row if text is None else row | {"text": text}

    scale = float((z - z.mean(0)).double().square().sum(1).mean())
    worst = (first.error - other.error).topk(min(SHOWN, len(z))).indices.tolist()
    tokens = [
        where(int(scored[i]))
        | {"encoder": float(first.error[i]) / scale, "pursuit": float(other.error[i]) / scale}
        for i in worst
    ]
    names = live.nonzero()[:, 0].tolist()
    most = (first.used - other.used).abs().topk(min(SHOWN, len(first.used))).indices
    example = (first.codes[:, most] - other.codes[:, most]).abs().argmax(0).tolist()
    latents = [
        {"latent": names[j], "encoder": int(first.used[j]), "pursuit": int(other.used[j])}
        | where(int(compared[i]))
        for j, i in zip(most.tolist(), example, strict=True)
    ]
    beaten, short = (
        float((other.error < one.error * (1 - 1e-6)).double().mean()) for one in (first, found["own support"])
    )
    return Lost(tokens, latents, beaten, short)


def reconstructions(sae: SAE, ways: Ways, x: Tensor) -> dict[str, Tensor]:
    """Each of a few ways' reconstruction of activations x (n, M)."""
    z, undo = sae.prepare(x)
    found: dict[str, Tensor] = {}
    for rows in batches(len(z)):
        for method, s, _ in ways(z[rows], ways.encode(z[rows]), SPLICED):
            found.setdefault(method, torch.zeros_like(z))[rows] = decode(s, ways.D.D) + sae.b_dec
    return {method: undo(z_hat) for method, z_hat in found.items()}


def _halves(document: Tensor | None, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of two groups of documents, about half the rows each, in random order."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=draw)
    if document is None or len(document.unique()) < 4:
        return order[: n // 2], order[n // 2 :]
    names = document.unique()
    mine = torch.isin(document[order], names[torch.randperm(len(names), generator=draw)][: len(names) // 2])
    return order[mine], order[~mine]
