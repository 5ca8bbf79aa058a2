"""What `improve` finds, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from amortgap.audit import Loss
from amortgap.heads import Improved

ALL = "pursuit among all"


@dataclass(frozen=True)
class Way:
    """One way to code on the SAE's decoder. Intervals are 95 % bootstrap intervals over documents or blocks."""

    name: str
    #: fraction of variance unexplained
    fvu: float
    low: float
    high: float
    #: share of the gain of OMP among all latents: 0 for the encoder, 1 for that pursuit
    share: float
    share_low: float
    share_high: float
    l0: float
    #: measured time in encoders, the encoder's own pass included; None where it was not timed
    cost: float | None
    #: counted operations in encoders, likewise
    flops: float | None

    COLUMNS: ClassVar = ("codes", "FVU", "interval", "L0", "share", "cost", "FLOPs")

    def cells(self) -> list[str]:
        """A row of a table with `COLUMNS`."""
        share = f"{self.share:.0%} ({self.share_low:.0%} – {self.share_high:.0%})"
        interval = f"{self.low:.4f} – {self.high:.4f}"
        numbers = ["–" if value is None else f"{value:.2f}" for value in (self.cost, self.flops)]
        return [self.name, f"{self.fvu:.4f}", interval, f"{self.l0:.1f}", share, *numbers]


@dataclass(frozen=True)
class ImproveResult:
    """The head that was chosen, and how it does on documents that chose nothing."""

    #: architecture, M, N, k of the SAE; where the activations come from
    sae: dict[str, Any]
    activations: dict[str, Any]
    #: "share" or "cost", and the value
    wanted: dict[str, float]
    #: name of the chosen way; whether it keeps what was wanted on the validation documents
    chosen: str
    kept: bool
    #: every way tried on the validation documents, the encoder first and the pursuit among all latents last
    validation: list[Way]
    #: on the held-out documents: encoder, chosen, pursuit among all latents, and the baselines
    test: list[Way]
    #: tokens of training, validation and test; "documents" or "blocks"
    tokens: list[int]
    resampled: str
    #: seconds that choosing took, those each baseline was given, and a thousand tokens' encoding by the old encoder
    seconds: dict[str, float]
    #: baseline -> why it was left out
    left_out: dict[str, str]
    loss: Loss | None
    #: the SAE with the chosen head
    module: Improved = field(repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """All but the module."""
        return {
            name: [asdict(way) for way in value] if name in ("validation", "test") else value
            for name, value in vars(self).items()
            if name not in ("module", "loss")
        } | {"loss": asdict(self.loss) if self.loss else None, "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        way, encoder, best = (self._way(name) for name in (self.chosen, "encoder", ALL))
        if encoder.fvu - best.fvu <= max(1e-4, 0.01 * encoder.fvu):
            return (
                f"Keep the encoder: a pursuit among all latents, as many on each token, leaves {best.fvu:.1%} "
                f"unexplained, hardly less than the encoder's {encoder.fvu:.1%}."
            )
        cost = next(w.cost for w in self.validation if w.name == self.chosen)
        if not self.kept:
            what, value = next(iter(self.wanted.items()))
            wish = (
                f"gives {value:.0%} of the gain" if what == "share" else f"costs at most {value:g} encoders"
            )
            return (
                f"No head {wish} on the validation documents; the nearest is {self._said(way, encoder, cost)}"
            )
        return f"Use {self._said(way, encoder, cost)}"

    @staticmethod
    def _said(way: Way, encoder: Way, cost: float | None) -> str:
        return (
            f"{way.name}: at {way.l0:.1f} latents a token it leaves {way.fvu:.1%} unexplained, the encoder "
            f"{encoder.fvu:.1%} at {encoder.l0:.1f}; that is {way.share:.0%} ({way.share_low:.0%} to "
            f"{way.share_high:.0%}) of what a pursuit among all latents gains, for {cost:.2f} times the encoder's "
            "time."
        )

    def _way(self, name: str) -> Way:
        return next(way for way in self.test if way.name == name)

    def save(self, folder: str | Path) -> None:
        """The module, for `heads.load(folder)`."""
        self.module.save(folder)

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.sentence)}</p>{table(self.test)}"


def table(ways: list[Way]) -> str:
    """The ways as an HTML table."""
    head = "".join(f"<th>{name}</th>" for name in Way.COLUMNS)
    lines = (
        "".join(
            f'<td class="n">{cell}</td>' if i else f"<td>{escape(cell)}</td>"
            for i, cell in enumerate(way.cells())
        )
        for way in ways
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
