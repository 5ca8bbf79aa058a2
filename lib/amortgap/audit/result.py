"""What an audit finds, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amortgap.audit.left_out import LeftOut


@dataclass(frozen=True)
class Row:
    """One way to code on one decoder. Intervals are 95 % bootstrap intervals."""

    #: "SAE", or "random" for random unit columns
    decoder: str
    method: str
    #: fraction of variance unexplained
    fvu: float
    low: float
    high: float
    #: FVU of the encoder on this decoder minus that of the row
    gain: float
    gain_low: float
    gain_high: float
    l0: float
    #: per token
    flops: float
    seconds: float


@dataclass(frozen=True)
class Scored:
    """The tokens that the rows are about, and the LASSO on them."""

    tokens: int
    #: what the bootstrap draws, "documents" or "tokens", and how many of them there are
    resampled: str
    groups: int
    alpha: float
    #: largest relative duality gap of the LASSO's solutions, and the one asked for
    worst_gap: float
    tol: float


@dataclass(frozen=True)
class Loss:
    """Next-token loss of the model with each reconstruction in place of the activation."""

    #: nats a token, by method, and for "untouched" and "mean"
    nats: dict[str, float]
    #: share of the loss given back, by method: 0 for the mean, 1 for the untouched model
    recovered: dict[str, float]
    tokens: int


@dataclass(frozen=True)
class AuditResult:
    """The numbers of one audit; `amortgap.pages.audit` draws them."""

    #: architecture, M, N, ... of the SAE, by name
    sae: dict[str, Any]
    #: where the activations come from
    activations: dict[str, Any]
    scored: Scored
    #: latents that the encoder uses on a scored token, and the share of latents that no token uses
    l0: float
    dead: float
    #: for each latent, the share of all tokens on which it is active
    density: list[float]
    #: for each scored token, the objective of the encoder's code above the optimum, relative
    excess: list[float]
    rows: list[Row]
    loss: Loss | None
    #: rows of the activations' files that were not read, or not audited
    left_out: LeftOut | None = None
