"""The first page of a report: what this is, the claims, the pages."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from amortgap.kit.text import interval, number, typeset
from amortgap.kit.verdict import RULE, VERDICTS
from amortgap.pages import withdrawn
from amortgap.pages.page import Page, duration, footer, frame

INTRODUCTION = """
<p>A sparse autoencoder reads a sparse code off an activation in one feed-forward step instead of solving for
it. What is lost by that is the <em>amortisation gap</em>. This report reproduces, corrects and extends
“Compute Optimal Inference and Provable Amortisation Gap in Sparse Autoencoders”
(O’Neill, Gumran, Klindt; <a href="https://arxiv.org/abs/2411.13117">arXiv 2411.13117</a>).
Every number below stands in a data file beside this page, written by the run that its page describes.</p>
"""


def render_index(
    profile: str,
    names: list[str],
    pages: dict[str, Page],
    runs: dict[str, dict[str, Any]],
    absent: dict[str, str],
    claims: list[dict[str, Any]],
) -> str:
    """The index as an HTML document.

    Each of the notebooks `names` has a page and a run, or is `absent` with the reason.
    """
    title = f"amortgap: the {profile} report"
    body = f"<h1>{escape(title)}</h1>\n{INTRODUCTION}{_claims(claims)}\n{_pages(names, pages, runs, absent)}"
    ended = [run["provenance"] for run in runs.values()]
    return frame(title, [], body, footer(_common(profile, ended)) if ended else "")


def _claims(claims: list[dict[str, Any]]) -> str:
    if not claims:
        return "<h2>Claims</h2>\n<p>No page of this report makes a claim yet.</p>\n"
    rows = "\n".join(_claim(claim) for claim in claims)
    counts = Counter(claim["verdict"] for claim in claims)
    verdicts = ", ".join(
        f"{symbol} {counts[verdict]} {verdict}"
        for verdict, symbol in SYMBOLS.items()
        if verdict in counts or verdict in VERDICTS
    )
    return (
        f"<h2>Claims</h2>\n<p>{verdicts}.</p>\n<p>{RULE}</p>\n<p>{COLUMNS}</p>\n"
        '<div class="scroll wide"><table class="claims">\n<thead><tr><th>id</th><th>claim</th>'
        '<th class="n">paper</th><th class="n">ours</th><th class="n">against</th><th>verdict</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
    )


COLUMNS = """“Ours” is our estimate. “Against” is the alternative. <b>MCC</b>: mean correlation of
found and true codes after the best one-to-one matching of latents, and of columns for a dictionary; 1 is perfect.
<b>FVU</b>: share of the variance that a code leaves unexplained. <b>SAE</b>: sparse autoencoder, one linear map and
relu; <b>MLP</b>: an encoder with a hidden layer; <b>ITO</b>: the paper’s inference-time optimisation; <b>OMP</b>:
orthogonal matching pursuit."""

SYMBOLS = VERDICTS | {withdrawn.VERDICT: withdrawn.SYMBOL}


def _claim(claim: dict[str, Any]) -> str:
    page = f"{claim['page']}.html"
    note = f'<br><span class="soft">{typeset(claim["note"])}</span>' if claim["note"] else ""
    good = claim["verdict"] in ("reproduced", "beyond")
    paper = claim["paper"] if isinstance(claim["paper"], str) else number(claim["paper"])
    # claims of runs before the six verdicts have a chance level instead, and say neither where nor which way
    against, alternative = claim.get("against", claim.get("chance")), claim.get("alternative", "")
    where, direction = (
        f'<br><span class="soft">{escape(claim[name])}</span>' if claim.get(name) else ""
        for name in ("where", "direction")
    )
    return (
        f'<tr id="claim-{claim["id"]}"><th class="name" scope="row">{claim["id"]}</th>'
        f"<td>{typeset(claim['says'])}{note}</td>"
        f'<td class="n">{paper}{where}</td>'
        f'<td class="n">{number(claim["ours"])}<br>'
        f'<span class="soft">{interval(claim["low"], claim["high"])}</span></td>'
        f'<td class="n">{number(against)}<br><span class="soft">{escape(alternative)}</span></td>'
        f'<td><span class="{"yes" if good else "no"}">{SYMBOLS[claim["verdict"]]} {claim["verdict"]}</span>'
        f"{direction}<br>"
        f'<a href="{page}#fig-{claim["figure"]}">figure</a>, '
        f'<a href="data/{claim["page"]}/{claim["data"]}.json">data</a></td></tr>'
    )


def _pages(
    names: list[str], pages: dict[str, Page], runs: dict[str, dict[str, Any]], absent: dict[str, str]
) -> str:
    items = []
    for name in names:
        if name in absent:
            items.append(f'<li><p>{escape(name)} <span class="no">– {escape(absent[name])}</span></p></li>')
            continue
        page, run = pages[name], runs[name]
        state = f'<span class="soft">({duration(run["provenance"]["seconds"])})</span>'
        if run["status"] == "failed":
            error = run["error"]
            state = f'<span class="no">✗ failed: {escape(error["kind"])}: {escape(error["message"])}</span>'
        summary = f"<br>{page.summary}" if page.summary else ""
        items.append(f'<li><p><a href="{name}.html">{page.title}</a> {state}{summary}</p></li>')
    return "<h2>Pages</h2>\n<ul>\n" + "\n".join(items) + "\n</ul>"


def _common(profile: str, ended: list[dict[str, Any]]) -> dict[str, Any]:
    """What the runs share; where they differ, every value."""
    shared: dict[str, Any] = {"profile": profile}
    for name in ("commit", "device", "cpu", "python", "torch", "numpy", "scipy"):
        values = sorted({str(run[name]) for run in ended if name in run})
        if values:
            shared[name] = "; ".join(values)
    shared["started"] = min(run["started"] for run in ended)
    shared["ended"] = max(run["ended"] for run in ended)
    return shared | {"seconds": sum(run["seconds"] for run in ended)}
