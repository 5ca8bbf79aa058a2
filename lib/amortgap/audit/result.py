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
    #: latents a token, mean and standard deviation
    l0: float
    l0_spread: float
    #: mean cosine of reconstruction and activation, and mean ratio of their norms
    cosine: float
    norm_ratio: float
    #: mean over tokens of 1 - |error|^2 / |activation - mean|^2, SAELens' explained_variance_legacy
    explained: float
    #: per token, those of the encoder included where the way begins with its code
    flops: float
    seconds: float


@dataclass(frozen=True)
class Agreement:
    """The encoder's codes and those of another way, and chance: with the other way's codes of other tokens."""

    method: str
    #: mean over tokens of the supports' intersection over their union
    jaccard: float
    jaccard_chance: float
    #: of the other way's codes, predicted linearly from the encoder's on other tokens
    r2: float
    r2_chance: float


@dataclass(frozen=True)
class Proved:
    """What certificates say of the encoder's latents, on the tokens on which codes are compared: shares of them."""

    #: active in the LASSO's solution, too
    shared: float
    #: zero in every optimum of the LASSO
    absent: float


@dataclass(frozen=True)
class Lost:
    """Where the encoder loses most against the greedy code with as many latents."""

    #: tokens: row of the file, squared error of the encoder and of the other code, relative to the mean variance,
    #: and, where it is known, the text that ends with the token
    tokens: list[dict[str, Any]]
    #: latents: on how many scored tokens the encoder and the other code use it; row and text of the token, among
    #: those compared, on which the two give it the most different amplitude
    latents: list[dict[str, Any]]
    #: share of tokens on which the other code, with no more latents, has the smaller error
    beaten: float
    #: and on which it has the smaller one even where the encoder's latents get their best amplitudes: there the
    #: encoder's support is proved not to be the best of its size
    short: float


@dataclass(frozen=True)
class Scored:
    """The tokens that the rows are about, and the LASSO on them."""

    tokens: int
    #: what the bootstrap draws, "documents" or "tokens", and how many of them there are
    resampled: str
    groups: int
    #: of them, those on which codes are compared, and those on which the random decoder is scored
    compared: int
    random: int
    #: None where no LASSO was solved
    alpha: float | None
    #: largest relative duality gap of the LASSO's solutions, and the one asked for
    worst_gap: float | None
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
    #: for each scored token, the objective of the encoder's code above the optimum, relative; empty without a LASSO
    excess: list[float]
    rows: list[Row]
    agreement: list[Agreement]
    #: None where no LASSO was solved
    proved: Proved | None
    #: way -> Jaccard of its supports before and after noise of one per cent
    stability: dict[str, float]
    #: None where no greedy code was made
    lost: Lost | None
    #: rows that could not be computed, and why
    missing: dict[str, str]
    loss: Loss | None
    #: rows of the activations' files that were not read, or not audited
    left_out: LeftOut | None = None

    def _repr_html_(self) -> str:
        """The rows, for Jupyter; `amortgap.pages.audit` makes the page."""
        head = ("decoder", "codes", "FVU", "interval", "gain", "L0")
        lines = "".join(
            f"<tr><td>{row.decoder}</td><td>{row.method}</td><td>{row.fvu:.4f}</td>"
            f"<td>{row.low:.4f} – {row.high:.4f}</td><td>{row.gain:+.4f}</td><td>{row.l0:.1f}</td></tr>"
            for row in self.rows
        )
        top = "".join(f"<th>{name}</th>" for name in head)
        return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
