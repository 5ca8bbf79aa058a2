"""Running notebooks and keeping what they found.

Inside a notebook, with `out: str = "../reports/interactive/data/02_known_codes"  # folder for this
page's data` in its parameters cell:

    from amortgap.runs import Record
    rec = Record(out)                       # before drawing: it also sets the figure style

    mcc = rec.table("mcc", rows)            # rows: DataFrame or list of dicts with scalar cells
                                            # -> writes <out>/mcc.json, returns it read back

    fig, ax = plt.subplots()                # draw from `mcc`, not from `rows`
    rec.figure(fig, "mcc_by_method",        # shown inline as SVG; text and axes follow the page's
        title="The finding, as a sentence.",    # colours (also "k" and "C6"); "C0".."C5" are Okabe-Ito
        alt="What is drawn, for a reader who cannot see it.",
        data="mcc")                         # a table already written

    rec.claim("E2.1", says="The paper's claim in our words.",
        paper=0.967,                        # None (the default) where the paper gives no number
        ours=0.966, low=0.95, high=0.98,    # our estimate and its interval
        chance=None,                        # the score that guessing reaches, where there is one
        verdict="reproduced",               # or "corrected", "not reproduced", "beyond"
        figure="mcc_by_method", data="mcc", note="")

    rec.provenance(device="cpu")            # facts only the notebook knows, for the page's footer

Names of tables and figures are lower-case letters, digits and underscores, unique in a notebook; claim
ids (`E2.1`, `T.1`, `L.2`) are unique over all notebooks. Bad use raises `Refused` (a ValueError).
Nothing here imports torch; numpy and torch scalars are accepted wherever a number is.
"""

from amortgap._errors import Refused
from amortgap.runs.claims import Claim
from amortgap.runs.record import Record

__all__ = ["Claim", "Record", "Refused"]
