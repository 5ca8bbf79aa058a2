"""An audit's numbers as one HTML page that needs no other file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from amortgap.kit.svg import to_svg, use_style
from amortgap.pages.frame import frame

if TYPE_CHECKING:
    from amortgap.audit import AuditResult, Row

MEANING = {
    "encoder": "the codes as the SAE reads them off",
    "own support": "the encoder's choice of latents, amplitudes by nonnegative least squares",
    "L1": "the nonnegative LASSO, solved to a certified gap",
    "L1 support": "the LASSO's choice of latents, amplitudes by nonnegative least squares",
    "OMP": "orthogonal matching pursuit, one latent after the other",
}


def render(name: str, result: AuditResult) -> str:
    """The page of `audit`'s result."""
    use_style()
    sae, scored = result.sae, result.scored
    of = ", ".join(f"{key} {value}" for key, value in result.activations.items() if value is not None)
    body = f"""<h1>Audit of {escape(name)}</h1>
<p>A {escape(sae["architecture"])} SAE with {sae["N"]} latents on activations of width {sae["M"]}. Its decoder
is kept; only the way the code of an activation is found is changed. What that gains is what the encoder
loses by reading the code off in one pass: the amortisation gap.</p>
<p class="soft">Activations: {escape(of)}. Scored: {scored.tokens} tokens, none of which set a parameter.</p>
<h2>What was found</h2>
<ul>{"".join(f"<li>{escape(sentence)}</li>" for sentence in findings(result))}</ul>
<h2>One decoder, five ways to code</h2>
{_figure(_rungs(result), "rungs", "Unexplained variance by method, on the SAE's decoder and on a random one")}
{_table(result)}
<p class="soft">FVU: fraction of variance unexplained, with its 95 % interval over {scored.resampled}
({scored.groups} of them). Gain: FVU of the encoder minus FVU of the row, paired token by token. FLOPs and
seconds are per token; those of “L1 support” include the LASSO. The random decoder has as many unit columns and
is read with the largest inner products, as many as the encoder uses: it shows what dimension and sparsity alone
explain.</p>
{_loss(result)}
<h2>The objective, token by token</h2>
{_figure(_excess(result), "excess", "Histogram over tokens of the encoder's objective above the optimum")}
<h2>The latents</h2>
{_figure(_density(result), "density", "Histogram over latents of the share of tokens on which they are active")}
<h2>How it was done</h2>
<p>The decoder's columns are scaled to norm one and the codes with them. α = {scored.alpha:.4g} of the objective
½‖z − Ds‖² + α‖s‖₁, s ≥ 0, was set on other tokens than those scored, so that the LASSO uses as many latents as
the encoder. The largest relative duality gap of its solutions is {scored.worst_gap:.1e} (asked for:
{scored.tol:g}). Everything shown stands in <a href="audit.json">audit.json</a>.</p>"""
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in sae.items())
    return frame(f"Audit of {name}", "", body, f"<p>The SAE</p>\n<dl>{facts}</dl>")


def findings(result: AuditResult) -> list[str]:
    """What the numbers say, in sentences that hold whatever they are."""
    own = {row.method: row for row in result.rows if row.decoder == "SAE"}
    random = {row.method: row for row in result.rows if row.decoder == "random"}
    first = own["encoder"]
    best = min(own.values(), key=lambda row: row.fvu)
    amplitude, excess = own["own support"], np.array(result.excess)
    said = [f"The encoder uses {result.l0:.1f} latents a token and leaves {first.fvu:.1%} unexplained."]
    if best.gain <= max(1e-4, 0.01 * first.fvu) or best.gain_low <= 0:
        said.append("No other way of coding at this sparsity leaves reliably less: here is no gap to close.")
    else:
        said.append(
            f"{best.method} on the same decoder leaves {best.fvu:.1%}: what the encoder leaves falls by "
            f"{best.gain / first.fvu:.0%} (difference {best.gain:.4f}, {_ends(best)})."
        )
        said.append(
            f"Of that, {amplitude.gain / best.gain:.0%} is won by refitting the amplitudes of the latents "
            "that the encoder chose; the rest needs another choice of latents."
        )
    if result.left_out and (sentence := result.left_out.sentence()):
        said.append(sentence)
    said.append(
        f"The encoder's codes cost {np.median(excess):.1%} more than the optimum of the LASSO objective (median "
        f"token, after the best rescaling); on one token in ten {np.quantile(excess, 0.9):.1%} or more."
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


def _table(result: AuditResult) -> str:
    head = ("decoder", "codes", "FVU", "interval", "L0", "gain", "FLOPs", "seconds")
    lines = [
        f'<tr><td>{row.decoder}</td><td title="{escape(MEANING[row.method])}">{row.method}</td>'
        f'<td class="n">{row.fvu:.4f}</td><td class="n">{row.low:.4f} – {row.high:.4f}</td>'
        f'<td class="n">{row.l0:.1f}</td><td class="n">{row.gain:+.4f}</td>'
        f'<td class="n">{row.flops:.2e}</td><td class="n">{row.seconds:.1e}</td></tr>'
        for row in result.rows
    ]
    terms = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in MEANING.items())
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
        f"<details><summary>what the rows are</summary><dl>{terms}</dl></details>"
    )


def _loss(result: AuditResult) -> str:
    if not result.loss:
        return '<p class="soft">No model was given, so the loss it recovers was not measured.</p>'
    nats, back = result.loss.nats, result.loss.recovered
    lines = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{value:.3f}</td>'
        f'<td class="n">{f"{back[name]:.1%}" if name in back else "–"}</td></tr>'
        for name, value in nats.items()
    )
    return (
        "<h2>In the model</h2>\n<p>Next-token loss with the reconstruction in place of the activation, on "
        f"{result.loss.tokens} tokens; recovered: 0 % for the mean activation, 100 % for the untouched "
        "model.</p>\n"
        "<table><thead><tr><th>activation</th><th>nats a token</th><th>recovered</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def _figure(ax: Any, name: str, alt: str) -> str:
    return f'<figure role="figure">{to_svg(ax.figure, name, alt)}</figure>'


def _axes(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(7, height)).add_subplot()


def _rungs(result: AuditResult) -> Any:
    ax, methods = _axes(3.2), list(MEANING)
    for i, decoder in enumerate(("SAE", "random")):
        rows = [row for row in result.rows if row.decoder == decoder]
        at = [methods.index(row.method) + 0.15 * (2 * i - 1) for row in rows]
        ends = np.array([[row.fvu - row.low, row.high - row.fvu] for row in rows]).clip(0).T
        ax.errorbar(
            [row.fvu for row in rows], at, xerr=ends, fmt="os"[i], capsize=3, label=f"{decoder} decoder"
        )
    ax.set_yticks(range(len(methods)), methods)
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
