"""The numbers of an audit: an encoder beside better inference on its own decoder, and on a random one."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from amortgap._check import as_tensor
from amortgap._largest import largest
from amortgap.audit.inputs import Inputs
from amortgap.audit.loss import model_loss
from amortgap.audit.result import AuditResult, Row, Scored
from amortgap.audit.rows import BATCH, coded, score
from amortgap.gap import excess_objective
from amortgap.interop import SAE
from amortgap.metrics import l0
from amortgap.problem import unit_columns
from amortgap.solvers import Prepared, alpha_for, prepare, solve

#: Tokens that set alpha; none of them is scored.
CALIBRATION = 256


def audit(sae: SAE, given: Inputs, *, tokens: int = 1024, tol: float = 1e-4, seed: int = 0) -> AuditResult:
    """All numbers of an audit.

    Documents (tokens, where no documents are known) are split in two: alpha is set on one part so that the L1
    codes have the encoder's mean L0, and `tokens` of the other are coded and scored. Intervals are 95 % bootstrap
    intervals over documents. FVU is measured in the SAE's own input space.

    Raises ValueError for activations that do not fit the SAE, are too few or all the same, and for an encoder that
    cannot be compared because it uses no latent or, on average, more than M.
    """
    x = as_tensor(given.x, "the activations").float()
    if x.ndim != 2 or x.shape[1] != sae.M:
        raise ValueError(f"the activations are {tuple(x.shape)}, but this SAE takes (n, {sae.M})")
    if len(x) < 64:
        raise ValueError(f"an audit needs at least 64 activations, not {len(x)}")
    if torch.equal(x, x[:1].expand_as(x)):
        raise ValueError("the activations are all the same, so there is no variance to explain")
    sae = sae.calibrated(x)
    density = torch.stack([(sae.encode(sae.prepare(b)[0]) > 0).sum(0) for b in x.split(BATCH)]).sum(0) / len(
        x
    )
    first, second = _halves(given.document, len(x), seed)
    first, second = first[:CALIBRATION], second[:tokens].sort()[0]
    z_first, z = sae.prepare(x[first])[0], sae.prepare(x[second])[0]
    sparsity = float(l0(sae.encode(z_first)))
    if not 0 < sparsity <= min(sae.M, sae.N):
        raise ValueError(
            f"the encoder uses {sparsity:g} latents on average, which no LASSO solution on M = {sae.M} dimensions "
            "can match; are these the activations the SAE was trained on?"
        )
    draw = torch.Generator().manual_seed(seed)
    random = unit_columns(torch.randn(sae.M, sae.N, generator=draw)).to(x.device)
    group = (second if given.document is None else given.document[second]).to(x.device)
    began = time.perf_counter()
    codes = sae.encode(z)
    flops = sum(sae.kind.products(sae.M, sae.N, 0, int(sae.k or 0)))
    seconds = (time.perf_counter() - began) / len(z)
    # a zero decoder row decodes to nothing, and its codes are zero
    codes = codes[:, sae.live]
    rows: list[Row] = []
    # a reading that nobody trained
    untrained = largest(torch.relu((z - sae.b_dec) @ random), max(1, round(sparsity)))
    for name, matrix, s in (("random", random, untrained), ("SAE", sae.D[:, sae.live], codes)):
        D = prepare(matrix)
        try:
            alpha = alpha_for(D, z_first - sae.b_dec, l0=sparsity)
        except ValueError as error:
            raise ValueError(
                f"no alpha gives the LASSO the encoder's mean L0 of {sparsity:g}: {error}"
            ) from error
        rows = score(name, D, z, sae.b_dec, s, alpha, group, tol, seed) + rows
    rows = [replace(row, flops=flops, seconds=seconds) if row.method == "encoder" else row for row in rows]
    excess = excess_objective(D, z - sae.b_dec, codes, alpha, tol=tol)
    gap = solve(D, z - sae.b_dec, alpha, tol=tol).duality_gap
    k = max(1, round(float(l0(codes))))
    loss = (
        model_loss(given, partial(_reconstructions, sae, D, alpha, k, tol))
        if given.model is not None
        else None
    )
    resampled = "tokens" if given.document is None else "documents"
    return AuditResult(
        sae={
            "architecture": sae.architecture,
            "M": sae.M,
            "N": sae.N,
            "k": sae.k,
            "input normalisation": sae.normalise,
            "decoder norms": [float(sae.norms.min()), float(sae.norms.max())],
            **{
                str(name): value
                for name, value in sae.metadata.items()
                if isinstance(value, str | int | float)
            },
        },
        activations=given.about
        | {"n": len(x), "documents": None if given.document is None else len(given.document.unique())},
        scored=Scored(len(z), resampled, len(group.unique()), alpha, float(gap.max()), tol),
        l0=float(l0(codes)),
        dead=float((density == 0).double().mean()),
        density=density.double().cpu().tolist(),
        excess=excess.cpu().tolist(),
        rows=rows,
        loss=loss,
        left_out=given.left_out,
    )


def _reconstructions(sae: SAE, D: Prepared, alpha: float, k: int, tol: float, x: Tensor) -> dict[str, Tensor]:
    """Each row's reconstruction of activations x (n, M)."""
    z, undo = sae.prepare(x)
    found: dict[str, Tensor] = {}
    codes = sae.encode(z)[:, sae.live]
    for method, part, s, _, _ in coded(D, z - sae.b_dec, codes, alpha, tol, k, "model loss"):
        found.setdefault(method, torch.zeros_like(z))[part] = s @ D.D.T + sae.b_dec
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
