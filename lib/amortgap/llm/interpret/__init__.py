"""What latents mean: rules or a language model's words for when a latent is active, scored on other contexts."""

from amortgap.llm.interpret.browser import browser, latent_row
from amortgap.llm.interpret.cards import card, html, logit_effects
from amortgap.llm.interpret.compare import Difference, match_density, paired, unpaired
from amortgap.llm.interpret.endpoint import Endpoint, auto_interpret
from amortgap.llm.interpret.examples import Examples, Places, choose_latents, first_windows, sample
from amortgap.llm.interpret.probing import detectable, pool, probe, redrawn
from amortgap.llm.interpret.rules import Features, Rule, explain, features, score
from amortgap.llm.interpret.survey import survey

__all__ = [
    "Difference",
    "Endpoint",
    "Examples",
    "Features",
    "Places",
    "Rule",
    "auto_interpret",
    "browser",
    "card",
    "choose_latents",
    "detectable",
    "explain",
    "features",
    "first_windows",
    "html",
    "latent_row",
    "logit_effects",
    "match_density",
    "paired",
    "pool",
    "probe",
    "redrawn",
    "sample",
    "score",
    "survey",
    "unpaired",
]
