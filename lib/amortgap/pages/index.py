"""The first page of a report: the answer, what was found, and each page's question with its answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import escape
from typing import Any

from amortgap.kit.setting import duration
from amortgap.kit.text import interval, number, typeset
from amortgap.pages.claims import quoted, tally, verdict
from amortgap.pages.findings import Words, borne_out, filled, paper_said
from amortgap.pages.glyphs import COMMON
from amortgap.pages.page import Page, memory
from amortgap.pages.shapes import strip

INTRODUCTION = """<p class="soft">A sparse autoencoder (SAE) explains an activation by a sparse code, which it reads
off in one feed-forward step instead of solving for it. What is lost by that is the <em>amortisation gap</em>. “The
paper” is <a href="https://arxiv.org/abs/2411.13117">Compute Optimal Inference and Provable Amortisation Gap in
Sparse Autoencoders</a> (O’Neill, Gumran, Klindt; ICML 2025), which this report reproduces, corrects and
extends.</p>
"""
#: Findings on the first page.
MOST = 7
KEY = """<p class="soft">MCC, the mean correlation with the true codes, is 1 when all are found. Brackets hold <a
href="claims.html#rule">the interval that decides</a>. In the drawings: ● ours with its interval, ◇ the paper,
│ the alternative that would make the claim pointless.</p>
"""


def index_body(
    words: Words,
    titles: dict[str, str],
    pages: dict[str, Page],
    runs: dict[str, dict[str, Any]],
    absent: dict[str, str],
    claims: list[dict[str, Any]],
    figure: str,
    stale: Collection[str],
) -> str:
    """The index's content. Each notebook of `titles` has a page and a run, or is `absent` with the reason; those of
    `stale` would run again."""
    known = {claim["id"]: claim for claim in claims}
    answer = next((text for one in words.answers if (text := filled(one, known))), "")
    answer = f'<p class="answer">{answer}</p>\n' if answer else ""
    held = (
        f'<h2 id="hold">Do the paper’s numbers hold?</h2>\n{tally(claims, "claims.html")}\n'
        '<p class="soft">Set another profile or run <a href="claims.html#compare">beside these numbers</a>.</p>\n'
        if claims
        else ""
    )
    return (
        f"<h1>{escape(words.question)}</h1>\n{INTRODUCTION}{answer}{held}{figure}\n{_findings(words, known)}"
        f"{_table(titles, pages, runs, absent, stale)}"
    )


def _findings(words: Words, known: dict[str, dict[str, Any]]) -> str:
    items = []
    made = [finding for finding in words.findings if finding["claim"] in known]
    for finding in made[:MOST]:
        claim = known[finding["claim"]]
        says = filled(finding["says"], known) if borne_out(finding, claim) else None
        topic = f"<h3>{typeset(finding['topic'])}</h3>" if finding.get("topic") else ""
        range_ = interval(claim["low"], claim["high"])
        paper = f", the paper: {paper_said(claim)}" if claim["paper"] is not None else ""
        items.append(
            f"<li>{topic}<p>{says or quoted(claim)}</p>\n"
            f'<p class="number"><b>{number(claim["ours"])}</b>'
            f"{f' {range_}' if range_ else ''}{paper}. {verdict(claim)}</p>\n{strip(claim)}\n"
            f'<p><a href="{claim["page"]}.html#fig-{claim["figure"]}">{claim["id"]}: figure and data</a></p></li>'
        )
    if not items:
        return ""
    return f'<h2 id="findings">What was found</h2>\n{KEY}<ul class="findings">\n{"".join(items)}\n</ul>\n'


def _table(
    titles: dict[str, str],
    pages: dict[str, Page],
    runs: dict[str, dict[str, Any]],
    absent: dict[str, str],
    stale: Collection[str],
) -> str:
    rows = []
    for name, title in titles.items():
        if name in absent:
            rows.append(
                f'<tr><th scope="row">{escape(title)}</th><td></td>'
                f'<td class="no">not shown: {escape(absent[name])}</td><td></td></tr>'
            )
            continue
        page, run = pages[name], runs[name]
        state, answer = f'<span class="yes">✓ {page.state}</span>', page.answer or page.summary
        if run["status"] == "failed":
            error = run["error"]
            state = f'<span class="no">✗ failed: {escape(error["kind"])}: {escape(error["message"])}</span>'
        elif page.state != "current":
            state = f'<span class="no">↻ {page.state}</span>'
        elif name in stale:
            state = '<span class="no">↻ made by earlier code or packages</span>'
        rows.append(
            f'<tr><th scope="row"><a href="{name}.html">{page.title}</a></th><td>{answer}</td><td>{state}</td>'
            f'<td class="n">{duration(run["provenance"]["seconds"])} <br>{memory(run["provenance"])}</td></tr>'
        )
    return (
        '<h2 id="pages">Every question, its answer</h2>\n<div class="wide"><table class="questions">\n'
        '<thead><tr><th scope="col">question</th><th scope="col">answer</th><th scope="col">status</th>'
        '<th scope="col" class="n">time, memory</th></tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def common(profile: str, ended: list[dict[str, Any]]) -> dict[str, Any]:
    """What the runs share, for the footer; where they differ, every value."""
    shared: dict[str, Any] = {"profile": profile}
    for name in ("commit", "device", "cpu", "python", "torch", "numpy", "scipy"):
        values = sorted({str(run[name]) for run in ended if name in run})
        if values:
            shared[name] = "; ".join(values)
    if earlier := {
        one for run in ended if "earlier commits" in run for one in run["earlier commits"].split("; ")
    }:
        shared["commit"] = "; ".join(sorted({*shared["commit"].split("; "), *earlier}))
    shared["started"] = min(run["started"] for run in ended)
    shared["ended"] = max(run["ended"] for run in ended)
    if known := [run["memory"] for run in ended if "memory" in run]:
        shared["memory"] = max(known)
    return shared | {"duration, all pages together": duration(sum(run["seconds"] for run in ended))}


def main_figure(page: str, name: str, document: str) -> str:
    """The figure `name` out of the `document` of `page`, for the index; empty where it is not there."""
    found = re.search(rf'<figure\b[^>]*\bid="fig-{re.escape(name)}".*?</figure>', document, flags=re.DOTALL)
    if not found:
        return ""
    common = COMMON.search(document)
    link = f'<a href="{page}.html#fig-{name}">the page of this figure</a>'
    return (common[0] if common else "") + found[0].replace("</figcaption>", f" {link}</figcaption>")
