"""`manifest.json`: the digest of every file of a report and of what its pages were made from, and their check.

    files    path in the report's folder -> first 16 digits of its SHA-256
    inputs   page -> key of the run, and digests of the data and versions of the packages that it used
    sealed   digest of the two

The check runs nothing. Whoever can write the report can write its manifest: it shows damage and forgotten edits,
not forgery.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import digest, json_digest, read_json, write_json
from amortgap.kit.claims import Claim, merge
from amortgap.kit.intervals import SCALES, Interval
from amortgap.kit.tables import read_table
from amortgap.kit.verdict import judge
from amortgap.pages.downloads import tables
from amortgap.pages.withdrawn import VERDICT
from amortgap.runs.jobs import read_state
from amortgap.runs.key import run_key

MANIFEST = "manifest.json"


def write_manifest(report: Path) -> Path:
    """Write the manifest of a report whose files are all there."""
    made = {"files": {name: digest(report / name) for name in _files(report)}, "inputs": _inputs(report)}
    write_json(report / MANIFEST, made | {"sealed": json_digest(made)})
    return report / MANIFEST


def verify(report: Path) -> tuple[list[str], str]:
    """What is wrong with a stored report, a sentence each, and what was looked at, in one line.

    Looks at the digest of every file; at each page's run, tables and claims: whether a claim's interval holds its
    value and gives its verdict, and its figure and table are there; and whether the merged claims are the pages'.
    Raises `Refused` where there is no report or no manifest to check.
    """
    try:
        manifest = read_json(report / MANIFEST)
        sealed = manifest.pop("sealed")
        files, inputs = dict(manifest["files"]), dict(manifest["inputs"])
    except FileNotFoundError:
        raise Refused(
            f"{report} has no {MANIFEST} to be checked against; `amortgap report` writes it with the report"
        ) from None
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return [f"{MANIFEST} is damaged"], f"nothing in {report}"
    wrong = [] if sealed == json_digest(manifest) else [f"{MANIFEST} was changed"]
    there = _files(report)
    wrong += [f"{name} is missing" for name in files if name not in there]
    wrong += [f"{name} is not in {MANIFEST}" for name in there if name not in files]
    wrong += [
        f"{name} was changed" for name in there if name in files and digest(report / name) != files[name]
    ]
    pages = _pages(report)
    for page in pages:
        run, trouble = read_state(report / "data" / page)
        if run is None:
            wrong.append(f"{page}: {trouble}")
        elif _made_from(run) != inputs.get(page):
            wrong.append(f"{page}: its inputs are not those in {MANIFEST}")
        wrong += [f"{page}: {trouble}" for trouble in _wrong_tables(report / "data" / page)]
        wrong += [f"{page}: {trouble}" for trouble in _wrong_claims(report, page)]
    merged = _merged_otherwise(report, pages)
    claims = sum(len(_claims(report / "data" / page)) for page in pages)
    return [*wrong, *merged], f"{len(there)} files, {len(pages)} pages and {claims} claims in {report}"


def _files(report: Path) -> list[str]:
    """The files of a report, but for hidden ones, the manifest and the parts of runs that were stopped."""
    paths = (path.relative_to(report) for path in report.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in paths
        if path.as_posix() != MANIFEST and not any(part.startswith((".", "parts_")) for part in path.parts)
    )


def _pages(report: Path) -> list[str]:
    return sorted(path.parent.name for path in report.glob("data/*/run.json"))


def _inputs(report: Path) -> dict[str, Any]:
    states = {page: read_state(report / "data" / page)[0] for page in _pages(report)}
    return {page: _made_from(run) for page, run in states.items() if run}


def _made_from(run: dict[str, Any]) -> dict[str, Any]:
    inputs = run["inputs"]
    return {"key": run_key(inputs)} | {name: inputs[name] for name in ("parameters", "data", "packages")}


def _wrong_tables(folder: Path) -> list[str]:
    wrong = []
    for file in tables(folder):
        try:
            read_table(file)
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            wrong.append(f"data file {file.name} is no table")
    return wrong


def _claims(folder: Path) -> list[dict[str, Any]]:
    try:
        found = read_json(folder / "claims.json")
        return found if isinstance(found, list) else []
    except (OSError, ValueError, RecursionError):
        return []


def _wrong_claims(report: Path, page: str) -> list[str]:
    wrong, folder, html = [], report / "data" / page, report / f"{page}.html"
    document = html.read_text(encoding="utf-8", errors="replace") if html.is_file() else ""
    shown = set(re.findall(r'id="fig-([a-z0-9_]+)"', document))
    for stored in _claims(folder):
        try:
            claim = Claim(**stored)
            right = claim.verdict in _verdicts(claim)
        except (Refused, TypeError) as error:
            wrong.append(f"a claim cannot be read: {error}")
            continue
        if not right:
            wrong.append(f"claim {claim.id}: its numbers do not give the verdict {claim.verdict!r}")
        if claim.figure not in shown:
            wrong.append(f"claim {claim.id}: the page shows no figure {claim.figure!r}")
        if not (folder / f"{claim.data}.json").is_file():
            wrong.append(f"claim {claim.id}: there is no table {claim.data!r}")
    return wrong


def _verdicts(claim: Claim) -> set[str]:
    """The verdicts that a claim's numbers allow; its scale and what only the notebook knows are not stored."""
    bounds = Interval(claim.ours, claim.low, claim.high, claim.n)
    found = {"not comparable"}
    for scale in SCALES:
        for shown in (False, True):
            found.add(judge(bounds, claim.paper, claim.against, scale, cause_shown=shown).verdict)
    return found


def _merged_otherwise(report: Path, pages: list[str]) -> list[str]:
    """Where `data/claims.json` says something else than the pages; a withdrawal changes verdict and note alone."""
    try:
        states = ((report / "data" / page, read_state(report / "data" / page)[0]) for page in pages)
        expected = merge(folder for folder, run in states if run and run["status"] == "done")
        stored = {claim["id"]: claim for claim in read_json(report / "data" / "claims.json")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ["the claims of the pages and data/claims.json cannot be compared"]
    wrong = []
    for claim in expected:
        seen = stored.pop(claim["id"], {})
        marks = ("verdict", "note") if seen.get("verdict") == VERDICT else ()
        if {**claim, **{name: seen.get(name) for name in marks}} != seen:
            wrong.append(f"data/claims.json has claim {claim['id']} otherwise than {claim['page']}")
    return wrong + [f"data/claims.json has claim {one}, which no page makes" for one in stored]
