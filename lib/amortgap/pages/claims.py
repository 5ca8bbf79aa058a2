"""The page of all claims: the rule, the paper's numbers against ours, a table to search, filter, sort, compare.

Everything is there without a script; `templates/claims.js` adds search, filters, sorting, and a second run beside.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from amortgap.kit.text import interval, number, quotable, typeset
from amortgap.kit.verdict import RULE, VERDICTS
from amortgap.pages import withdrawn
from amortgap.pages.findings import paper_number
from amortgap.pages.power import power_table
from amortgap.pages.shapes import scatter

SYMBOLS = VERDICTS | {withdrawn.VERDICT: withdrawn.SYMBOL}
#: An experiment with more claims than this, the cells of a grid, is folded until somebody asks for it.
MANY = 24


def claims_body(
    claims: Sequence[dict[str, Any]],
    titles: dict[str, str],
    profile: str,
    others: dict[str, dict[str, dict[str, Any]]],
) -> str:
    """The page's content. `titles`: page -> plain title, for the experiments' names.

    `others`: the reports that lie beside this one, `profile`, by name: claims by id.
    """
    if not claims:
        return "<h1>Do the paper’s numbers hold?</h1>\n<p>No page of this report makes a claim yet.</p>"
    rule = "".join(f"<li>{typeset(line)}</li>" for line in RULE)
    groups = "\n".join(_group(page, claims, titles.get(page, page)) for page in _pages(claims))
    return (
        f"<h1>Do the paper’s numbers hold?</h1>\n{tally(claims, '')}\n{scatter(claims)}"
        f'<h2 id="rule">The rule</h2>\n<ol class="rule">{rule}</ol>\n'
        f'{power_table(claims, titles)}<h2 id="all">All claims</h2>\n{_controls(claims, profile, others)}'
        '<div class="claims-box"><table class="claims">\n<caption>Each claim with the paper’s number, ours, the '
        "interval that decides, the alternative, and the verdict.</caption>\n"
        f"<thead><tr>{HEAD}</tr></thead>\n"
        f"{groups}\n</table></div>\n"
        '<p class="soft">The same as data: <a href="data/claims.json">claims.json</a>.</p>'
    )


HEAD = "".join(
    f'<th scope="col"{" class=n" * (name in ("paper", "ours", "against"))}>{name}</th>'
    for name in ("id", "claim", "paper", "ours", "against", "verdict")
)
CONTROLS = """<label>Search <input type="search" name="words" autocomplete="off"></label>
<label>Verdict <select name="verdict"><option value="">all</option></select></label>
<label>Page <select name="page"><option value="">all</option></select></label>
<label>Sort <select name="sort"><option value="">by page</option><option value="verdict">by verdict</option>
<option value="difference">by distance from the paper</option><option value="ours">by our number</option>
<option value="change">by difference from B</option></select></label>
<label>Beside A, ours B <select name="beside"><option value="">nothing</option></select></label>
<label>or B from a claims.json <input type="file" name="other" accept=".json"></label>
<output aria-live="polite"></output>
</form>
"""


def _controls(
    claims: Sequence[dict[str, Any]], profile: str, others: dict[str, dict[str, dict[str, Any]]]
) -> str:
    """The form above the table, shown by the script, with the numbers of other reports' claims for it."""
    mine = {claim["id"] for claim in claims}
    known = {
        name: {
            identifier: [float(f"{claim[key]:.6g}") for key in ("ours", "low", "high")] + [claim["verdict"]]
            for identifier, claim in theirs.items()
            if identifier in mine
        }
        for name, theirs in others.items()
    }
    data = escape(json.dumps(known, separators=(",", ":")))
    return (
        f'<p id="compare" class="soft">Two runs side by side, ours in A, ours in B and the difference: choose B '
        f"below, or run <code>amortgap compare {escape(profile)} B</code>.</p>\n"
        f'<form class="controls" hidden aria-label="Choose claims" data-name="{escape(profile)}" '
        f'data-others="{data}">\n{CONTROLS}'
    )


def tally(claims: Sequence[dict[str, Any]], page: str) -> str:
    """How many claims have which verdict, each a link to those claims on `page`."""
    counts = Counter(claim["verdict"] for claim in claims)
    apart = ("not comparable", "beyond")
    said_by_paper = [c for c in claims if c["paper"] is not None and c["verdict"] not in apart]
    numbers = sum(isinstance(claim["paper"], int | float) for claim in said_by_paper)
    among = Counter(claim["verdict"] for claim in said_by_paper)
    chips = "".join(
        f'<li id="verdict-{slug(verdict)}" class="v-{slug(verdict)}">'
        f'<a href="{page}#verdict-{slug(verdict)}"><b>{counts[verdict]}</b> '
        f"{symbol} {verdict}</a></li>"
        for verdict, symbol in SYMBOLS.items()
        if counts[verdict]
    )
    why = {
        "inconclusive": " (our interval holds the alternative, too)",
        "corrected": " (a page shows the cause)",
    }
    split = ", ".join(f"{among[one]} {one}{why.get(one, '')}" for one in SYMBOLS if among[one])
    only = f" ({numbers} numbers, {len(said_by_paper) - numbers} directions)"
    what = f"{among['reproduced']} of {len(said_by_paper)} published results that can be compared hold"
    said = f"<b>{what}</b>{only}: {split}. " if said_by_paper else ""
    count = f"All {len(claims)} claims, those beyond the paper included, by verdict:"
    return f'<p>{said}{count}</p>\n<ul class="tally">{chips}</ul>'


def slug(verdict: str) -> str:
    """A verdict as it stands in a class or an address."""
    return verdict.replace(" ", "-")


def _pages(claims: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({claim["page"] for claim in claims})


def _group(page: str, claims: Sequence[dict[str, Any]], title: str) -> str:
    mine = [claim for claim in claims if claim["page"] == page]
    rows = "\n".join(_row(claim) for claim in mine)
    many = f' data-many="{len(mine)}"' if len(mine) > MANY else ""
    return (
        f'<tbody id="page-{page}" data-page="{page}"{many}>\n<tr class="page"><th colspan="6" scope="rowgroup">'
        f'<a href="{page}.html">{escape(title)}</a></th></tr>\n{rows}\n</tbody>'
    )


def _row(claim: dict[str, Any]) -> str:
    note = f'<span class="why">{typeset(claim["note"])}</span>' if claim["note"] else ""
    where = f'<span class="soft">{typeset(claim["where"])}</span>' if claim.get("where") else ""
    against = claim.get("against")
    alternative = f'<span class="soft">{typeset(claim.get("alternative", ""))}</span>'
    numbers = (
        f' data-paper="{claim["paper"]:.6g}"' if isinstance(claim["paper"], int | float) else ""
    ) + "".join(f' data-{key}="{claim[key]:.6g}"' for key in ("ours", "low", "high"))
    identifier = claim["id"]
    return (
        f'<tr id="claim-{identifier}" data-verdict="{slug(claim["verdict"])}"{numbers}>'
        f'<th class="name" scope="row"><a href="#claim-{identifier}">{identifier}</a></th>'
        f'<td class="says">{quoted(claim)}{note}</td>'
        f'<td class="n" data-is="the paper">{paper_number(claim)}{where}</td>'
        f'<td class="n" data-is="ours">{number(claim["ours"])}'
        f'<span class="soft">{interval(claim["low"], claim["high"])}</span></td>'
        f'<td class="n" data-is="against">{number(against)}{alternative}</td>'
        f'<td class="verdict">{verdict(claim)}'
        f'<span class="soft"><a href="{claim["page"]}.html#fig-{claim["figure"]}">figure</a>, '
        f'<a href="data/{claim["page"]}/{claim["data"]}.json">data</a></span></td></tr>'
    )


def quoted(claim: dict[str, Any]) -> str:
    """What the claim says, a sentence with its number."""
    return quotable(claim["says"], claim["ours"])


def verdict(claim: dict[str, Any]) -> str:
    """The verdict with its symbol and, where ours differs, the direction."""
    direction = f", ours is {claim['direction']}" if claim.get("direction") else ""
    said = claim["verdict"]
    return f'<span class="v v-{slug(said)}">{SYMBOLS[said]} {said}</span>{direction}'
