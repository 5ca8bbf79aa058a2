"""What the first page says: `notebooks/findings.toml`, a question, and sentences whose numbers are claims.

The file holds words only; the first page shows the first seven findings whose claims were made. A number is written
as the name of a claim, `{E2.1}` for ours, `{E2.1.range}` for its interval and `{E2.1.paper}` for the paper's, and a
sentence that a run does not bear out is not shown:

    [[finding]]
    claim = "E2.6"                  # must have been made by this report, or the finding is left out
    when = "higher"                 # or "lower", or left out
    says = "... ours is {E2.6}"

With `when` the sentence is shown only if our interval lies on that side of the paper's number, or, where the paper
has none, of the alternative; `when` may also be a verdict. Else the claim's own sentence is shown.

A section of a notebook is headed by a question. `headings` has sentences of the same form that answer it; the page
shows the first that its run bears out above the question:

    [headings.03_known_dictionary]
    "Which method finds the codes?" = [{ claim = "E2.6", when = "higher", says = "Solving does: {E2.6}" }]
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap.kit.text import interval, number, typeset
from amortgap.kit.verdict import VERDICTS

KINDS: dict[type, str] = {str: "text", list: "list", dict: "table"}
NAME = re.compile(r"\{([A-Z]\d*\.\d+)(?:\.(range|paper))?\}")


@dataclass(frozen=True)
class Words:
    """The content of `findings.toml`; empty where a project has none."""

    question: str = "What do these notebooks find?"
    #: shown where all claims that they name were made, the first that fits
    answers: tuple[str, ...] = ()
    #: page and figure of the one figure on the first page
    figure: tuple[str, str] | None = None
    findings: tuple[dict[str, str], ...] = ()
    #: page -> {"answers": sentences that answer its question, "figure": the figure whose caption does where none
    #: fits, "claims": the claims of its box}
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: page -> question of a section -> sentences that may answer it
    headings: dict[str, dict[str, list[dict[str, str]]]] = field(default_factory=dict)


def read_words(file: Path) -> Words:
    """`file` as `Words`. Raises `Refused` for text that is not TOML, and for keys that mean nothing here."""
    if not file.exists():
        return Words()
    kinds: dict[str, type] = {
        "question": str,
        "answers": list,
        "figure": str,
        "finding": list,
        "pages": dict,
        "headings": dict,
    }
    given = read_toml(file, kinds)
    page, _, figure = given.get("figure", "").partition("#")
    return Words(
        given.get("question", Words.question),
        tuple(given.get("answers", ())),
        (page, figure) if page else None,
        tuple(given.get("finding", ())),
        given.get("pages", {}),
        given.get("headings", {}),
    )


def read_toml(file: Path, kinds: dict[str, type]) -> dict[str, Any]:
    """The content of `file`. Raises `Refused` for what is not TOML, another key, and a value of another kind."""
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{file.name}: {error}") from None
    for name, value in given.items():
        if name not in kinds:
            raise Refused(f"{file.name}: unknown key {name!r}")
        if not isinstance(value, kinds[name]):
            raise Refused(f"{file.name}: {name} must be a {KINDS[kinds[name]]}, not {value!r}")
    return given


def answers(words: Words, page: str, claims: tuple[dict[str, Any], ...]) -> dict[str, str]:
    """Question of a section of `page` -> the sentence, as HTML, that the report's `claims` bear out."""
    known = {claim["id"]: claim for claim in claims}
    found = {}
    for question, sentences in words.headings.get(page, {}).items():
        borne = (one for one in sentences if one["claim"] in known and borne_out(one, known[one["claim"]]))
        if said := next((text for one in borne if (text := filled(one["says"], known))), ""):
            found[question] = said
    return found


def filled(sentence: str, claims: dict[str, dict[str, Any]]) -> str | None:
    """`sentence` as HTML with the numbers of `claims`; None where a claim that it names was not made."""
    named = NAME.findall(sentence)
    if any(
        identifier not in claims or (part == "paper" and claims[identifier]["paper"] is None)
        for identifier, part in named
    ):
        return None

    def value(found: re.Match[str]) -> str:
        claim = claims[found[1]]
        if found[2] == "paper":
            return paper_number(claim)
        if found[2] == "range":
            return interval(claim["low"], claim["high"])
        return f'<a href="claims.html#claim-{found[1]}">{number(claim["ours"])}</a>'

    return NAME.sub(value, typeset(sentence))


def paper_number(claim: dict[str, Any]) -> str:
    """The paper's number as text, its direction with the number it is from, or a dash."""
    direction = isinstance(claim["paper"], str)
    return f"{escape(claim['paper'])} {number(claim['against'])}" if direction else number(claim["paper"])


def paper_said(claim: dict[str, Any]) -> str:
    """The same with the name of what the direction is from: `above half of what the dictionary adds, 0.204`."""
    if isinstance(claim["paper"], str) and claim["against"]:
        return f"{escape(claim['paper'])} {typeset(claim['alternative'])}, {number(claim['against'])}"
    return paper_number(claim)


def borne_out(finding: dict[str, str], claim: dict[str, Any]) -> bool:
    """Whether our interval or verdict is what the sentence speaks of; withdrawn claims bear out none."""
    if claim["verdict"] == "being made again":
        return False
    if "when" not in finding:
        return True
    if finding["when"] in VERDICTS:
        return bool(claim["verdict"] == finding["when"])
    against = claim.get("against")
    reference = claim["paper"] if isinstance(claim["paper"], int | float) else against or 0.0
    return bool(claim["low"] > reference if finding["when"] == "higher" else claim["high"] < reference)
