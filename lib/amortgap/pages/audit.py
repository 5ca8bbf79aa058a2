"""An audit's numbers as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from amortgap.kit.draw import name_points
from amortgap.kit.svg import to_svg, use_style
from amortgap.pages.frame import frame

if TYPE_CHECKING:
    from amortgap.audit import AuditResult, Loss, Row, Scored

MEANING = {
    "encoder": "the codes as the SAE reads them off",
    "own support": "the encoder's choice of latents, amplitudes by nonnegative least squares",
    "L1": "the nonnegative LASSO, solved to a certified gap",
    "L1 support": "the LASSO's choice of latents, amplitudes by nonnegative least squares",
    "OMP": "orthogonal matching pursuit among all latents, as many on every token as the encoder uses on average",
    "OMP, own count": "the same with as many latents on each token as the encoder uses there",
    "k steps": "so many steps of ISTA on the LASSO's objective, begun at the encoder's code; at an L0 of their own",
    "k steps, refitted": "the largest of these, as many as the encoder has, by nonnegative least squares",
    "leave-one-out among 1.5k": "the encoder's 1.5k best latents fitted together; the least needed leave, k stay",
    "pursuit among 2k": "orthogonal matching pursuit among the encoder's 2k best latents, k its count on the token",
    "adaptive among 4k": "refitted, and the pursuit among 4k only where one latent more would explain two per cent",
    "LASSO among 2k": "of the LASSO's path among the encoder's 2k best latents, as far as k are active, refitted",
    "IHT among 2k": "four steps of iterative hard thresholding among the encoder's 2k best latents, refitted",
}
#: share of the largest gain with which the fastest way is good enough
ENOUGH = 0.75
#: times the encoder's L0 up to which a way counts as equally sparse
EQUAL = 1.02
#: what page 21 of the report finds
ADVICE = (
    "Which code to use: at equal L0 take the one that explains more, and of a single token trust the latents that "
    "both codes have; on the synthetic dictionaries tried, where the true code is known, nearly all of these are "
    "true, and hardly any of those that the encoder alone has."
)


def render(name: str, result: AuditResult) -> str:
    """The page of `audit`'s result."""
    use_style()
    sae, scored = result.sae, result.scored
    first = next(row for row in result.rows if (row.decoder, row.method) == ("SAE", "encoder"))
    of = ", ".join(f"{key} {value}" for key, value in result.activations.items() if value is not None)
    body = f"""<h1>Audit of {escape(name)}</h1>
<p>A {escape(sae["architecture"])} SAE with {sae["N"]} latents on activations of width {sae["M"]}. Its decoder
is kept; only the way the code of an activation is found is changed. What that gains is what the encoder
loses by reading the code off in one pass: the amortisation gap.</p>
<p class="soft">Activations: {escape(of)}. Scored: {scored.tokens} tokens, none of which set a parameter.</p>
<h2>What was found</h2>
<ul>{"".join(f"<li>{escape(sentence)}</li>" for sentence in findings(result))}</ul>
<h2>One decoder, many ways to code</h2>
{_figure(_frontier(result), "frontier", "Gain over the encoder against time, by way of coding")}
{_below(result)}
{_table(result)}
<p class="soft">FVU: fraction of variance unexplained, with its 95 % interval over {scored.resampled}
({scored.groups} of them). Gain: FVU of the encoder minus FVU of the row, paired token by token. L0: latents a
token, ± their standard deviation. Norm: mean ratio of the norms of reconstruction and activation; below 1 it
shrinks. Explained: SAELens' explained_variance_legacy, a mean over tokens; 1 − FVU is its explained_variance. FLOPs
and time are in encoders ({first.flops / 1e6:.3g} million operations and {first.seconds * 1e6:.3g} µs a token), the
encoder's own pass included where a way begins with it, the LASSO in “L1 support”. The random decoder has as many
unit columns and is read with the largest inner products, as many as the encoder uses: it shows what dimension and
sparsity alone explain ({_on(scored.random, scored)}). What depends on a dictionary alone, such as its Gram matrix,
is made before the clock starts.</p>
{_missing(result)}
{_figure(_rungs(result), "rungs", "Unexplained variance by method, on the SAE's decoder and on a random one")}
{_which(result)}
{_lost(result)}
{_loss(result)}
{_objective(result)}
<h2>The latents</h2>
{_figure(_density(result), "density", "Histogram over latents of the share of tokens on which they are active")}
<h2>How it was done</h2>
<p>The decoder's columns are scaled to norm one and the codes with them. {_lasso(result)}Everything shown stands in
<a href="audit.json">audit.json</a>.</p>"""
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(_short(value))}</dd>" for key, value in sae.items())
    return frame(f"Audit of {name}", "", body, f"<p>The SAE</p>\n<dl>{facts}</dl>")


def _short(value: Any) -> str:
    """A fact as text, numbers to four digits."""
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def compare(results: dict[str, AuditResult]) -> str:
    """A page that puts several audits side by side: name, which is its folder, -> result."""
    ways = ("encoder", "own support", "pursuit among 2k", "pursuit among 4k", "OMP, own count")
    rows = []
    for name, result in results.items():
        own = {row.method: row for row in result.rows if row.decoder == "SAE"}
        left = [f"{own[way].fvu:.4f}" if way in own else "–" for way in ways]
        facts = [result.sae["architecture"], str(result.sae["N"]), f"{result.l0:.1f}", f"{result.dead:.1%}"]
        rows.append([name, *facts, *left])
    table = grid(("SAE", "architecture", "latents", "L0", "dead", *ways), rows, 2)
    lines = "".join(
        f'<li><a href="{quote("./" + name)}/index.html">{escape(name)}</a>: {escape(advice(result))}</li>'
        for name, result in results.items()
    )
    body = f"""<h1>Audits of {len(results)} SAEs</h1>
<p>Fraction of variance unexplained on each SAE's own decoder, by way of coding: as its encoder reads codes off,
with the encoder's latents refitted, and with better ones chosen. SAEs compare at equal L0 and on the same
activations only.</p>
{table}
<h2>What to do with each</h2>
<ul>{lines}</ul>"""
    return frame(f"Audits of {len(results)} SAEs", "", body, "")


def advice(result: AuditResult) -> str:
    """One sentence that follows from the rows on the SAE's decoder."""
    own = {row.method: row for row in result.rows if row.decoder == "SAE"}
    fair = _equally_sparse(result)
    first, best = own["encoder"], max(fair, key=lambda row: row.gain)
    if best.gain <= max(1e-4, 0.01 * first.fvu) or best.gain_low <= 0:
        return "Keep the encoder: no other way of coding at this sparsity leaves reliably less unexplained."
    row = min((row for row in fair if row.gain >= ENOUGH * best.gain), key=lambda row: row.seconds)
    part = "" if row is best else f"{row.gain / best.gain:.0%} of "
    whose = "" if row is best else f", {best.method}'s,"
    cost = row.seconds / first.seconds
    said = f"Use {row.method}: {part}the largest gain{whose} at {cost:.1f} times the encoder's time"
    refit = own["own support"]
    if row.method != "own support" and refit.gain > 0:
        said += f" (refitting the encoder's own latents gives {refit.gain / best.gain:.0%})"
    steps = [row for name, row in own.items() if name.endswith(("step", "steps"))]
    if steps and max(row.gain for row in steps) <= 0:
        said += "; do not add ISTA steps, which leave more unexplained than the encoder"
    return said + "."


def _equally_sparse(result: AuditResult) -> list[Row]:
    """Rows on the SAE's decoder that use no more latents than its encoder, the encoder's own first."""
    own = [row for row in result.rows if row.decoder == "SAE"]
    return [row for row in own if row.l0 <= EQUAL * own[0].l0]


def findings(result: AuditResult) -> list[str]:
    """What the numbers say, in sentences that hold whatever they are; the first is the advice."""
    own = {row.method: row for row in result.rows if row.decoder == "SAE"}
    random = {row.method: row for row in result.rows if row.decoder == "random"}
    first = own["encoder"]
    best = max(_equally_sparse(result), key=lambda row: row.gain)
    said = [
        advice(result),
        f"The encoder uses {result.l0:.1f} latents a token and leaves {first.fvu:.1%} unexplained.",
    ]
    if best.gain > max(1e-4, 0.01 * first.fvu) and best.gain_low > 0:
        said.append(
            f"{best.method} on the same decoder leaves {best.fvu:.1%}: what the encoder leaves falls by "
            f"{best.gain / first.fvu:.0%} (difference {best.gain:.4f}, {_ends(best)})."
        )
        said.append(
            f"Of that, {own['own support'].gain / best.gain:.0%} is won by refitting the amplitudes of the latents "
            "that the encoder chose; the rest needs another choice of latents."
        )
    if result.left_out and (sentence := result.left_out.sentence()):
        said.append(sentence)
    if result.excess:
        excess = np.array(result.excess)
        said.append(
            f"The encoder's codes cost {np.median(excess):.1%} more than the optimum of the LASSO objective "
            f"(median token, after the best rescaling); on one token in ten {np.quantile(excess, 0.9):.1%} or more."
        )
    if result.lost:
        said.append(
            f"On {result.lost.beaten:.0%} of the tokens a greedy code with no more latents errs less than "
            "the encoder's code as read off; what refitting its own latents gains alone stands in the table."
        )
    said.append(f"{result.dead:.1%} of the latents are active on none of the tokens given.")
    rival = min(random.values(), key=lambda row: row.fvu)
    said.append(f"A random decoder of the same size, coded by {rival.method}, leaves {rival.fvu:.1%}.")
    if result.loss:
        back = result.loss.recovered
        top = max(back, key=lambda method: float(back[method]))
        said.append(
            f"Spliced into the model, the encoder's reconstruction recovers {back['encoder']:.1%} of the loss; "
            f"the best row is {top} with {back[top]:.1%}."
        )
    return said


def _ends(row: Row) -> str:
    return f"95 % interval {row.gain_low:.4f} to {row.gain_high:.4f}"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """An HTML table whose first columns hold words and the others numbers."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    kinds = [""] * words + [' class="n"'] * (len(head) - words)
    lines = (
        "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _table(result: AuditResult) -> str:
    first = next(row for row in result.rows if (row.decoder, row.method) == ("SAE", "encoder"))
    head = [
        "decoder",
        "codes",
        "FVU",
        "interval",
        "gain",
        "L0",
        "cosine",
        "norm",
        "explained",
        "FLOPs",
        "time",
    ]
    rows = (
        [
            row.decoder,
            row.method + _sparsity(row, first),
            f"{row.fvu:.4f}",
            f"{row.low:.4f} – {row.high:.4f}",
            f"{row.gain:+.4f}",
            f"{row.l0:.1f} ± {row.l0_spread:.1f}",
            f"{row.cosine:.3f}",
            f"{row.norm_ratio:.3f}",
            f"{row.explained:.3f}",
            _times(row.flops, first.flops, row),
            _times(row.seconds, first.seconds, row),
        ]
        for row in result.rows
    )
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in MEANING.items())
    return f"{grid(head, rows, 2)}\n<details><summary>what the rows are</summary><dl>{terms}</dl></details>"


def _sparsity(row: Row, encoder: Row) -> str:
    """What the name of a way says where its L0 is not the encoder's, so that its FVU does not compare."""
    if encoder.l0 / EQUAL <= row.l0 <= EQUAL * encoder.l0:
        return ""
    return f" ({row.l0 / encoder.l0:.2f} × the L0)"


def _times(value: float, encoder: float, row: Row) -> str:
    """In encoders; nobody's reading of the random decoder was timed."""
    if (row.decoder, row.method) == ("random", "encoder") or encoder == 0:
        return "–"
    return f"{value / encoder:.2f}" if value < 100 * encoder else f"{value / encoder:.0f}"


def _missing(result: AuditResult) -> str:
    lines = "".join(f"<li>{escape(row)}: {escape(why)}.</li>" for row, why in result.missing.items())
    return f'<p class="soft">Rows left out:</p><ul class="soft">{lines}</ul>' if lines else ""


def _which(result: AuditResult) -> str:
    """How far other codes agree with the encoder's."""
    if not result.agreement:
        return ""
    head = ("codes", "same latents", "chance", "linear R²", "chance", "stable")
    own = ["encoder", "1", "–", "1", "–", _stable(result, "encoder")]
    others = []
    for one in result.agreement:
        values = (one.jaccard, one.jaccard_chance, one.r2, one.r2_chance)
        others.append([one.method, *(f"{value:.2f}" for value in values), _stable(result, one.method)])
    proof = ""
    if result.proved and result.scored.worst_gap is not None:
        open_ = max(0.0, 1 - result.proved.shared - result.proved.absent)
        proof = (
            "By certificates: the L1 code is the optimum of its objective (relative gap at most "
            f"{result.scored.worst_gap:.0e}). It uses {result.proved.shared:.0%} of the encoder's latents; "
            f"{result.proved.absent:.0%} are proved to be zero in every optimum, so there the optimum differs and "
            f"no algorithm has failed; {open_:.0%} are undecided. Greedy codes carry no such proof; what can be "
            "said of them is on how many tokens they have the smaller error. "
        )
    short = ""
    if result.lost:
        short = (
            f"<p>On {result.lost.short:.0%} of the tokens the greedy code, with no more latents, explains more "
            "than the encoder’s latents do with their best amplitudes: there the encoder’s support is proved not "
            f"to be the best of its size. {ADVICE}</p>"
        )
    return f"""<h2>Which code?</h2>
{grid(head, [own, *others])}
{short}
<p class="soft">Same latents: mean over tokens of the two supports' intersection over their union (Jaccard), with
the encoder. Linear R²: of these codes, predicted by ridge regression from the encoder's on tokens that the
regression has not seen. Chance: with the codes of other tokens. Stable: Jaccard of a way's own supports before and
after noise of 1 % of each activation's norm. Compared {_on(result.scored.compared, result.scored)}, and shaken on
every other of those. {proof}</p>"""


def _on(some: int, scored: Scored) -> str:
    return (
        f"on {some} of the {scored.tokens} tokens, evenly spaced" if some < scored.tokens else "on all tokens"
    )


def _stable(result: AuditResult, method: str) -> str:
    return f"{result.stability[method]:.2f}" if method in result.stability else "–"


def _lost(result: AuditResult) -> str:
    """The tokens and latents that lose most."""
    if not result.lost:
        return ""
    known = any("text" in one for one in result.lost.tokens)
    tokens = [
        [str(one["row"]), *_text(one, known), f"{one['encoder']:.2f}", f"{one['pursuit']:.2f}"]
        for one in result.lost.tokens
    ]
    latents = [
        [str(one["latent"]), str(one["row"]), *_text(one, known), str(one["encoder"]), str(one["pursuit"])]
        for one in result.lost.latents
    ]
    text = ["text"] * known
    return f"""<h2>What loses most</h2>
<details class="print"><summary>tokens and latents on which the encoder and “OMP, own count” differ most</summary>
{grid(("row", *text, "error, encoder", "error, pursuit"), tokens, 1 + known)}
{grid(("latent", "row", *text, "tokens, encoder", "tokens, pursuit"), latents, 2 + known)}
<p>Errors are squared, in units of the mean variance. A latent's row is the token on which the two codes give it the
most different amplitude. Rows are those of the file, or of the model's activations; the token stands in brackets
at the end of its text.</p></details>"""


def _text(one: dict[str, Any], known: bool) -> list[str]:
    return [one.get("text", "")] if known else []


def _objective(result: AuditResult) -> str:
    if not result.excess:
        return ""
    alt = "Histogram over tokens of the encoder's objective above the optimum"
    return f"<h2>The objective, token by token</h2>\n{_figure(_excess(result), 'excess', alt)}"


def _lasso(result: AuditResult) -> str:
    scored = result.scored
    if scored.alpha is None or scored.worst_gap is None:
        return ""
    return (
        f"α = {scored.alpha:.4g} of the objective ½‖z − Ds‖² + α‖s‖₁, s ≥ 0, was set on other tokens than those "
        "scored, so that the LASSO uses as many latents as the encoder. The largest relative duality gap of its "
        f"solutions is {scored.worst_gap:.1e} (asked for: {scored.tol:g}). "
    )


def _loss(result: AuditResult) -> str:
    if not result.loss:
        return '<p class="soft">No model was given, so the loss it recovers was not measured.</p>'
    return in_the_model(result.loss)


def in_the_model(loss: Loss) -> str:
    """The section on next-token loss."""
    back = loss.recovered
    rows = [
        [name, f"{value:.3f}", f"{back[name]:.1%}" if name in back else "–"]
        for name, value in loss.nats.items()
    ]
    return f"""<h2>In the model</h2>
<p>Next-token loss with the reconstruction in place of the activation, on {loss.tokens} tokens; recovered: 0 % for
the mean activation, 100 % for the untouched model.</p>
{grid(("activation", "nats a token", "recovered"), rows)}"""


def _figure(ax: Any, name: str, alt: str) -> str:
    return f'<figure role="figure">{to_svg(ax.figure, name, alt)}</figure>'


def _axes(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(7, height)).add_subplot()


def number_times(ax: Any) -> None:
    """A logarithmic axis of times, which often span less than a decade, where it would show no numbers."""
    from matplotlib.ticker import LogLocator

    ax.set(xscale="log", xlabel="measured time, in encoders")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


def _drawn(result: AuditResult) -> tuple[list[Row], list[Row]]:
    """The rows on the SAE's decoder that are drawn; those that lose more than the best gains would hide them."""
    own = [row for row in result.rows if row.decoder == "SAE"]
    most = max(row.gain for row in own)
    below = [row for row in own if row.gain < -most] if most > 0 else []
    return [row for row in own if row not in below], below


def _below(result: AuditResult) -> str:
    names = ", ".join(row.method for row in _drawn(result)[1])
    return (
        f'<p class="soft">Not drawn, as they lose more than the best way gains: {names}.</p>' if names else ""
    )


def _frontier(result: AuditResult) -> Any:
    ax = _axes(4.2)
    own = _drawn(result)[0]
    first = own[0]
    groups = {
        "the encoder's latents and next best": (
            "encoder",
            "own",
            "pursuit",
            "leave",
            "adaptive",
            "LASSO",
            "IHT",
        ),
        "steps from the encoder's code": ("1 ", "2 ", "5 ", "10 "),
        "solved among all latents": ("L1", "OMP"),
    }
    named: list[tuple[str, float, float]] = []
    for marker, (label, names) in zip("os^", groups.items(), strict=True):
        rows = [row for row in own if row.method.startswith(names)]
        if not rows:
            continue
        at = [row.seconds / first.seconds for row in rows]
        ends = np.array([[row.gain - row.gain_low, row.gain_high - row.gain] for row in rows]).clip(0).T
        ax.errorbar(at, [row.gain for row in rows], yerr=ends, fmt=marker, label=label)
        named += [(row.method, x, row.gain) for x, row in zip(at, rows, strict=True) if marker != "s"]
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set_ylabel("FVU gained over the encoder")
    number_times(ax)
    ax.legend(fontsize=8)
    name_points(ax, named)
    return ax


def _rungs(result: AuditResult) -> Any:
    shared = [row.method for row in result.rows if row.decoder == "random"]
    ax = _axes(1 + 0.45 * len(shared))
    for i, decoder in enumerate(("SAE", "random")):
        rows = [row for row in result.rows if row.decoder == decoder and row.method in shared]
        at = [shared.index(row.method) + 0.15 * (2 * i - 1) for row in rows]
        ends = np.array([[row.fvu - row.low, row.high - row.fvu] for row in rows]).clip(0).T
        ax.errorbar(
            [row.fvu for row in rows], at, xerr=ends, fmt="os"[i], capsize=3, label=f"{decoder} decoder"
        )
    ax.set_yticks(range(len(shared)), shared)
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set_xlabel("fraction of variance unexplained (lower is better)")
    ax.legend()
    return ax


def _excess(result: AuditResult) -> Any:
    ax, values = _axes(2.8), np.array(result.excess).clip(1e-4)
    ax.hist(values, np.geomspace(1e-4, max(1.0, values.max()), 50).tolist())
    ax.set(xscale="log", xlabel="objective above the optimum (relative)", ylabel="tokens")
    return ax


def _density(result: AuditResult) -> Any:
    ax, values = _axes(2.8), np.array(result.density)
    if (values > 0).any():
        ax.hist(values[values > 0], np.geomspace(values[values > 0].min(), 1, 50).tolist())
    ax.set(xscale="log", xlabel="share of tokens (dead latents left out)", ylabel="latents")
    return ax
