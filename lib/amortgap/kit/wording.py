"""What claims of pages 01, 03, 04, 06, 13, 16, 17, 20 name by a quantity, as sentences with room for their number.

The runs of these pages take hours and hold for the cells as they are. When one runs again, its cells say the
sentences themselves and its lines go from here, and this file with the last of them.
"""

from __future__ import annotations

import re

#: What a claim says -> the sentence, whose number `text.quotable` fills in for "this"; the first that fits.
SENTENCES = (
    # 01
    (
        r"(A linear–nonlinear encoder has a non-zero amortisation gap for .*)\.",
        r"\1: a mean squared error of at least this much.",
    ),
    (
        r"The gap is non-zero whatever the law of the sparse codes\.",
        "Binary codes are read off with a mean squared error of this much; the paper has a gap whatever their law.",
    ),
    (
        r"MCC of (.*), trained on the true codes, minus (.*)\.",
        r"The MCC of \1, trained on the true codes, differs from \2 by this.",
    ),
    # 03
    (
        r"Inference-time optimisation shows what optimal inference reaches\.",
        "Optimal inference reaches this MCC; the paper takes its inference-time optimisation for it.",
    ),
    (
        r"Training makes the SAE's code better than an untrained read-out\.",
        "Training changes the SAE's code, set against an untrained read-out, by this MCC.",
    ),
    (
        r"(Starting .* from the SAE's codes) makes no difference\.",
        r"\1 changes what it reaches by this MCC.",
    ),
    # 04, 13
    (
        r"(.*) (?:recovers .* better than|is ahead of) (.*) \(difference in MCC\)\.",
        r"\1 is ahead of \2 by this MCC.",
    ),
    (
        r"(.*) leaves the SAE's dictionary as it was \(change of dictionary MCC\)\.",
        r"\1 changes the dictionary MCC of the SAE's dictionary by this.",
    ),
    (
        r"The SAE's missing MCC is an amortisation gap: better inference would close it\.",
        "Better inference on the SAE's own dictionary adds this MCC; were its missing MCC an amortisation gap, it "
        "would close it.",
    ),
    (r"With nothing known, (Gated|TopK|ReLU)(?: \(SAE\))? (.*)", r"With nothing known, the \1 SAE \2"),
    (r"Distance in MCC from (sparse coding) down to (.*)\.", r"\1 is ahead of \2, by this MCC."),
    (
        r"Change of MCC when the encoders' own dictionaries get better inference (.*)",
        r"Better inference on the encoders' own dictionaries changes their codes by this MCC \1",
    ),
    # 06
    (
        r"MCC that no linear–nonlinear encoder can have: (.*)",
        r"Solving is ahead of the best linear–nonlinear encoder that a search finds by this MCC: \1",
    ),
    (r"((?:.*: )?)MCC lost (.*)", r"\1of the MCC, this much is lost \2"),
    (
        r"Solver term on the learned dictionary\.",
        "Solver term: the paper's Adam ends this share above the optimum on the learned dictionary.",
    ),
    # 16
    (
        r"The active codes of (.*) are shrunk \((.*)\): re-optimising .*",
        r"Re-optimising the active codes of the \1 on their support raises them by this (\2).",
    ),
    (
        r"Re-optimised amplitudes recover the latents better: MCC gained by the SAE (.*)",
        r"Re-optimised amplitudes change the SAE's MCC by this \1",
    ),
    (
        r"What remains of (.*)'s distance to (.*) after re-optimising its amplitudes \(MCC, (.*)\)\.",
        r"With its amplitudes re-optimised, \1 is still this much MCC away from \2 (\3).",
    ),
    # 17
    (r"MCC of (the true codes in shuffled order) (at .*)", r"\1 score this MCC \2"),
    (r"Mean (cosine .*)\.", r"The mean \1 is this much."),
    # 20
    (r"There (L1 is ahead of OMP, .*)", r"On the true dictionary of the large worlds \1"),
    # 01, 06, 16, 17
    (r"((?:.*: )?)MCC (?:that )?(.*?) (adds?|gives back|gains|loses)\b(.*)", r"\1\2 \3 this much MCC\4"),
)


def worded(says: str) -> str:
    """What a claim says as a sentence with room for its number; as it is where that is one already."""
    for pattern, sentence in SENTENCES:
        if found := re.fullmatch(pattern, says):
            said = found.expand(sentence)
            return said[0].upper() + said[1:]
    return says
