"""The cheapest head that gives a wanted share of what a pursuit among all latents gains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_number, check_count, generator
from amortgap.audit import Inputs, Loss
from amortgap.audit.groups import groups
from amortgap.audit.inputs import check_varied, fitting
from amortgap.audit.loss import model_loss
from amortgap.audit.rows import bootstrap, clock, ends
from amortgap.heads import HEADS, Improved, proposal_of
from amortgap.heads.module import BLOCK
from amortgap.improve.baselines import longer, refitted
from amortgap.improve.result import ALL, ImproveResult, Way
from amortgap.improve.splits import split
from amortgap.interop import SAE

#: (head, candidates for each latent of the encoder, options); adaptive gets the median of what is left as its gate
TRIED: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("refit", 1, {}),
    ("pursuit", 1.5, {}),
    ("pursuit", 2, {}),
    ("pursuit", 3, {}),
    ("pursuit", 4, {}),
    ("pursuit", 8, {}),
    ("pursuit", 32, {}),
    ("leave_one_out", 1.5, {}),
    ("leave_one_out", 2, {}),
    ("lasso", 2, {}),
    ("iht", 2, {"steps": 4}),
    ("adaptive", 2, {}),
    ("adaptive", 4, {}),
)
#: timings of each way, and the most tokens in each; in small batches a head costs more encoders
ROUNDS, TIMED = 5, 2048
TRAINING = 8192  # tokens that the baselines see at most
FEWEST = 256


def improve(
    sae: SAE,
    given: Inputs,
    *,
    share: float | None = None,
    cost: float | None = None,
    tokens: int = 1024,
    baseline_seconds: float | None = None,
    seed: int = 0,
) -> ImproveResult:
    """Chooses a head on validation documents and measures it on others.

    share: of the FVU that a pursuit among all latents gains over the encoder, at equal L0 on every token: of the
    heads that reach it the fastest is chosen (.75 where neither is given). cost: or the head that gains most for at
    most so many encoders of time, the encoder's own pass included, on the validation tokens (at most 2048 at once).
    tokens: of validation and of test. baseline_seconds: what each baseline may train; by default as long as
    choosing took.

    Raises ValueError for activations that do not fit, are fewer than 256 or all the same, for share and cost
    together or out of range, and for an encoder that uses no latent.
    """
    if share is not None and cost is not None:
        raise ValueError("give a share of the gain or a bound on the cost, not both")
    wanted = {"share": 0.75 if share is None else as_number(share, "share")}
    if cost is not None:
        wanted = {"cost": as_number(cost, "cost")}
    generator(seed)
    if not (0 < wanted.get("share", 1) <= 1 and wanted.get("cost", 2) > 1):
        raise ValueError("share must be above 0 and at most 1, and cost above 1, that of the encoder")
    tokens = check_count(tokens, "tokens", 2)
    x = fitting(sae, given, FEWEST, "choosing and testing a head")
    sae, began = sae.to(x.device).calibrated(x), time.perf_counter()
    parts = split(groups(given.document, len(x))[0], seed)
    rows = [part[:most] for part, most in zip(parts, (TRAINING, tokens, tokens), strict=True)]
    group, resampled = groups(given.document, len(x), *rows[1:])
    train, validation, test = (sae.prepare(x[part])[0] for part in rows)
    check_varied(validation, "the activations that choose a head")
    check_varied(test, "the activations that test the head")
    if not int(proposal_of(sae, validation, 1).k.sum()):
        raise ValueError("the encoder uses no latent on these activations; are they those it was trained on?")
    tried = _heads(sae, validation)
    scored = _Scored(tried["refit"], validation, group[rows[1]], seed)
    times = _times(sae, tried, validation[:TIMED])
    costs = {name: value / times["encoder"] for name, value in times.items()}
    table = [scored.way(name, module, costs[name]) for name, module in tried.items()]
    table = [scored.encoder(), *table, scored.reference()]
    chosen, kept = _choose(table[1:-1], wanted)
    seconds = {"choosing": time.perf_counter() - began, "encoding 1000 tokens": 1000 * times["encoder"]}
    seconds["each baseline"] = seconds["choosing"] if baseline_seconds is None else baseline_seconds
    module = tried[chosen]
    scored = _Scored(module, test, group[rows[2]], seed)
    held_out = [scored.encoder(), scored.way(chosen, module, costs[chosen]), scored.reference()]
    left_out = {}
    budget = seconds["each baseline"]
    for name, train_it in _baselines(sae, train, budget, seed, partial(_among_all, module)).items():
        if isinstance(train_it, str):
            left_out[name] = train_it
        else:
            held_out.append(scored.same_counts(name, train_it()))
    facts = {"architecture": sae.architecture, "M": sae.M, "N": sae.N, "k": sae.k}
    about = given.about | {"n": len(x)}
    sizes = [len(part) for part in rows]
    loss = _loss(given, module, chosen) if given.model is not None else None
    return ImproveResult(
        facts, about, wanted, chosen, kept, table, held_out, sizes, resampled, seconds, left_out, loss, module
    )


def _heads(sae: SAE, z: Tensor) -> dict[str, Improved]:
    """Name -> module. They share one prepared dictionary."""
    found: dict[str, Improved] = {}
    for head, ratio, options in TRIED:
        made = Improved(sae, head, ratio, **options)
        if found:
            made.share(next(iter(found.values())))
        if head == "adaptive":
            left = Improved(sae, "refit", ratio).share(made).values(z)[1].left
            made.options = {"gate": float(f"{float(left.median()):.2g}")}
        name = "refit" if head == "refit" else f"{head.replace('_', '-')} among {ratio:g}k"
        found[name] = made
    return found


def _times(sae: SAE, tried: dict[str, Improved], z: Tensor) -> dict[str, float]:
    """Seconds a token: the least of ROUNDS, in which the encoder and all heads take turns."""

    def encoder(z: Tensor) -> Tensor:
        if sae.architecture == "matching_pursuit":
            return sae.encode(z)
        return sae.kind.select(*sae.preactivations(z), sae.k, sae.threshold)

    ways: dict[str, Callable[[Tensor], Tensor]] = {"encoder": encoder}
    ways |= {name: module.codes for name, module in tried.items()}
    best, now = dict.fromkeys(ways, math.inf), clock(z)
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            began = now()
            way(z)
            if z.is_cuda:
                torch.cuda.synchronize()
            if turn:  # the first compiles
                best[name] = min(best[name], now() - began)
    return {name: value / len(z) for name, value in best.items()}


class _Scored:
    """Ways to code z (n, M), scored by FVU with intervals over `group` (n,)."""

    def __init__(self, module: Improved, z: Tensor, group: Tensor, seed: int) -> None:
        self.sae = sae = module.sae
        self.z, self.weights = z, bootstrap(group.to(z.device), seed)
        self.power = (z - z.mean(0)).double().square().sum(1)
        own = [proposal_of(sae, part, 1) for part in z.split(BLOCK)]
        self.count = torch.cat([part.k for part in own])
        self.own = self.error(torch.cat([p.codes(p.amplitude, sae.N) for p in own]))
        self.codes = torch.cat([_among_all(module, part) for part in z.split(BLOCK)])
        self.best = self.error(self.codes)

    def error(self, codes: Tensor) -> Tensor:
        """Squared error of each token, codes (n, N) for unit columns."""
        return (self.z - codes @ self.sae.D.T - self.sae.b_dec).double().square().sum(1)

    def _row(self, name: str, error: Tensor, l0: Tensor, cost: float | None, flops: float | None) -> Way:
        total = self.weights @ self.power
        drawn = [(self.weights @ e) / total for e in (self.own, error, self.best)]
        mean = [float(e.sum() / self.power.sum()) for e in (self.own, error, self.best)]
        span = drawn[0] - drawn[2]
        shares = (drawn[0] - drawn[1]) / torch.where(span.abs() < 1e-12, 1e-12, span)
        share = (mean[0] - mean[1]) / (mean[0] - mean[2]) if mean[0] - mean[2] > 1e-12 else 0.0
        return Way(
            name, mean[1], *ends(drawn[1]), share, *ends(shares), float(l0.double().mean()), cost, flops
        )

    def encoder(self) -> Way:
        return self._row("encoder", self.own, self.count, 1.0, 1.0)

    def reference(self) -> Way:
        return self._row(ALL, self.best, (self.codes > 0).sum(1), None, None)

    def way(self, name: str, module: Improved, cost: float) -> Way:
        """cost: measured, in encoders."""
        error, l0, work = [], [], 0
        for z in self.z.split(BLOCK):
            proposal, found = module.values(z)
            x_hat = proposal.codes(found.values, self.sae.N) @ self.sae.D.T + self.sae.b_dec
            error.append((z - x_hat).double().square().sum(1))
            l0.append((found.values > 0).sum(1))
            work += found.flops
        own = sum(self.sae.kind.products(self.sae.M, self.sae.N, 0, int(self.sae.k or 0)))
        return self._row(name, torch.cat(error), torch.cat(l0), cost, 1 + work / (own * len(self.z)))

    def same_counts(self, name: str, other: SAE) -> Way:
        """Another encoder for the same decoder: on each token its largest latents, as many as the old one's."""
        h = torch.relu(other.preactivations(self.z)[0])
        h = h if other.rescaled else h * other.norms
        order = h.argsort(dim=1, descending=True)
        first = torch.arange(h.shape[1], device=h.device) < self.count[:, None]
        codes = torch.zeros_like(h).scatter(1, order, h.gather(1, order) * first)
        return self._row(name, self.error(codes), (codes > 0).sum(1), 1.0, 1.0)


def _among_all(module: Improved, z: Tensor) -> Tensor:
    """The pursuit's codes (n, N) where every latent is a candidate, as many as the encoder has on each token."""
    sae = module.sae
    own = proposal_of(sae, z, 1)
    live = sae.live.nonzero()[:, 0]
    everything = own._replace(
        candidates=live.expand(len(z), -1).contiguous(),
        amplitude=z.new_zeros(len(z), len(live)),
        width=torch.full_like(own.k, len(live)),
    )
    found = HEADS["pursuit"](module.given, z - sae.b_dec, everything)
    return everything.codes(found.values, sae.N)


def _choose(table: list[Way], wanted: dict[str, float]) -> tuple[str, bool]:
    """Name of the head, and whether it is as wanted; otherwise it is the one that comes nearest."""
    costs = {way.name: way.cost or math.inf for way in table}
    if "share" in wanted:
        enough = [way for way in table if way.share >= wanted["share"]]
        if enough:
            return min(enough, key=lambda way: costs[way.name]).name, True
        return max(table, key=lambda way: way.share).name, False
    cheap = [way for way in table if costs[way.name] <= wanted["cost"]]
    if cheap:
        return max(cheap, key=lambda way: way.share).name, True
    return min(table, key=lambda way: costs[way.name]).name, False


def _baselines(
    sae: SAE, z: Tensor, seconds: float, seed: int, codes_of: Callable[[Tensor], Tensor]
) -> dict[str, Callable[[], SAE] | str]:
    """Name -> how to train it, or why it is left out."""
    names = "encoder trained on by its own loss", "linear encoder fitted to the pursuit's codes"
    if sae.architecture == "topk":
        first: Callable[[], SAE] | str = lambda: longer(sae, z, seconds, seed)  # noqa: E731
    else:
        first = f"the file of a {sae.architecture} SAE does not say what its penalty weighed"
    if sae.kind.maps == 2 or sae.architecture == "matching_pursuit":
        return {names[0]: first, names[1]: f"a {sae.architecture} SAE has no single linear encoder"}
    return {names[0]: first, names[1]: lambda: refitted(sae, z, codes_of(z), seconds, seed)}


def _loss(given: Inputs, module: Improved, chosen: str) -> Loss:
    """What each reconstruction gives back of a language model's loss."""
    sae = module.sae

    def reconstruct(x: Tensor) -> dict[str, Tensor]:
        z, undo = sae.prepare(x)
        own = sae.encode(z) @ sae.D.T + sae.b_dec
        return {"encoder": undo(own), chosen: module(x)}

    return model_loss(given, reconstruct)
