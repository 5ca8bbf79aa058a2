"""Heads: better codes on a decoder that stays as it is, among the few latents that its encoder proposes.

    given = prepare(D)                      D (M, N), unit columns
    proposal = propose(h, codes, ratio=2)   the encoder's latents and as many again, by its pre-activations
    found = HEADS["pursuit"](given, x, proposal)
    codes = proposal.codes(found.values, N)

A head never uses more latents than the encoder did on that activation, so FVU compares at equal L0. To add one,
write its file and one line here; the contract tests loop over HEADS.
"""

from __future__ import annotations

from collections.abc import Callable

from amortgap.heads._proposal import Proposal, propose, propose_top
from amortgap.heads._restricted import Found
from amortgap.heads.adaptive import adaptive
from amortgap.heads.iht import iht
from amortgap.heads.lasso import lasso
from amortgap.heads.leave_one_out import leave_one_out
from amortgap.heads.pursuit import pursuit
from amortgap.heads.refit import refit

__all__ = ["HEADS", "Found", "Improved", "Proposal", "load", "proposal_of", "propose", "propose_top"]

HEADS: dict[str, Callable[..., Found]] = {
    "refit": refit,
    "pursuit": pursuit,
    "lasso": lasso,
    "iht": iht,
    "leave_one_out": leave_one_out,
    "adaptive": adaptive,
}

from amortgap.heads.module import Improved, load, proposal_of  # noqa: E402  (it reads HEADS)
