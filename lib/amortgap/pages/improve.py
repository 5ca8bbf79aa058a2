"""What `improve` found as one HTML page that needs no other file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from amortgap.kit.draw import name_points
from amortgap.kit.svg import to_svg, use_style
from amortgap.pages.audit import grid, in_the_model, number_times
from amortgap.pages.frame import frame

if TYPE_CHECKING:
    from amortgap.improve import ImproveResult, Way


def render(name: str, result: ImproveResult) -> str:
    """The page of `improve`'s result."""
    use_style()
    sae, seconds = result.sae, result.seconds
    of = ", ".join(f"{key} {value}" for key, value in result.activations.items() if value is not None)
    left_out = "".join(f"<li>{escape(row)}: {escape(why)}.</li>" for row, why in result.left_out.items())
    figure = to_svg(
        _figure(result).figure, "ways", "Share of the gain against measured time, by way of coding"
    )
    body = f"""<h1>Better codes for {escape(name)}</h1>
<p><strong>{escape(result.sentence)}</strong></p>
<p>A {escape(sae["architecture"])} SAE with {sae["N"]} latents on activations of width {sae["M"]}. Its encoder
proposes a few latents for each activation, and a head chooses among them and fits their amplitudes. The decoder
stays as it is, and no activation gets more latents than the encoder gave it.</p>
<p class="soft">Activations: {escape(of)}. {result.resampled.capitalize()}
are in three parts: {result.tokens[0]} tokens trained the
baselines, {result.tokens[1]} chose the head, and {result.tokens[2]} are measured in the first table.</p>
<h2>On {result.resampled} that chose nothing</h2>
{_table(result.test)}
<p class="soft">FVU: fraction of variance unexplained, with its 95 % interval over {result.resampled}. Share: of
what orthogonal matching pursuit among all latents gains over the encoder. Cost: measured time in encoders on
the tokens that chose, at most 2048 at once, the encoder's own pass and the selection of candidates included.
FLOPs: counted operations, likewise. The baselines had
{seconds["each baseline"]:.0f} seconds each, as long as choosing took unless it was set otherwise.</p>
{f"<ul class='soft'>{left_out}</ul>" if left_out else ""}
{_loss(result)}
<h2>What was tried</h2>
<figure role="figure">{figure}</figure>
{_table(result.validation)}
<p class="soft">Among 2k: the encoder proposes twice as many latents as it uses on the token. Refit keeps the
encoder's own. LASSO: of each token's solution path, as many latents. IHT: four steps of iterative hard
thresholding. Leave-one-out: all proposed are fitted, and the least needed leave. Adaptive: the pursuit where a
certificate says that it pays.</p>
<h2>How to use it</h2>
<pre>from amortgap import heads
sae = heads.load("folder of this page")
codes = sae.encode(activations)  # (…, {sae["M"]}) → (…, {sae["N"]})
sae.decode(codes)</pre>
<p>It takes the SAE's place in a hook of TransformerLens, nnsight or SAELens. Everything shown stands in
<a href="improve.json">improve.json</a>.</p>"""
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in sae.items())
    return frame(f"Better codes for {name}", "", body, f"<p>The SAE</p>\n<dl>{facts}</dl>")


def _table(ways: list[Way]) -> str:
    return grid(ways[0].COLUMNS, (way.cells() for way in ways))


def _loss(result: ImproveResult) -> str:
    if not result.loss:
        return '<p class="soft">No model was given, so the loss that codes give back was not measured.</p>'
    return in_the_model(result.loss)


def _figure(result: ImproveResult) -> Any:
    from matplotlib.figure import Figure

    ax = Figure(figsize=(7, 4)).add_subplot()
    named: list[tuple[str, float, float]] = []
    for way in result.validation:
        if way.cost is None:
            continue
        chosen = way.name == result.chosen
        ends = [[max(0, way.share - way.share_low)], [max(0, way.share_high - way.share)]]
        ax.errorbar(
            [way.cost], [way.share], yerr=ends, fmt="s" if chosen else "o", color="C1" if chosen else "C0"
        )
        named.append((way.name, way.cost, way.share))
    ax.axhline(1, color="0.6", linewidth=0.8, linestyle="--")
    number_times(ax)
    ax.set_ylabel("share of OMP's gain (validation)")
    name_points(ax, named)
    return ax
