"""Claims that a notebook names by a quantity, "MCC lost by X: ...", as sentences with room for their number."""

from __future__ import annotations

import re

#: What a claim says, or its id and what it says -> the sentence, whose number `text.quotable` fills in where it
#: says "this". The first that fits the whole of it holds.
SENTENCES = (
    # the paper's own sentences, which hold no number
    (
        r"Trained on the true codes of (.*) samples, the SAE ends where the paper sees the limit of .*\.",
        r"Trained on the true codes of \1 samples, the SAE reaches this test correlation; the paper takes its own "
        "number for the limit of the architecture.",
    ),
    (
        r"(On power-law data )?[Ii]nference-time optimisation shows what optimal inference reaches\.",
        r"\1optimal inference reaches this MCC; the paper takes its inference-time optimisation for it.",
    ),
    (
        r"Training makes the SAE's code better than an untrained read-out\.",
        "Training changes the SAE's code, set against an untrained read-out, by this MCC.",
    ),
    (
        r"(Starting .* from the SAE's codes) makes no difference\.",
        r"\1 changes what it reaches by this MCC.",
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
    (
        r"(.*) has reached the optimum of its objective \(test objective divided by the true dictionary's\)\.",
        r"\1 ends at this many times the true dictionary's objective on test samples.",
    ),
    (
        r"The SAE leaves \.056 of (.*) unexplained at a mean L0 of 38\.",
        r"The SAE leaves this share of \1 unexplained at a mean L0 of 38.",
    ),
    (
        r"(A linear–nonlinear encoder has a non-zero amortisation gap for .*)\.",
        r"\1: a mean squared error of at least this much.",
    ),
    (
        r"The gap is non-zero whatever the law of the sparse codes\.",
        "Binary codes are read off with a mean squared error of this much; the paper has a gap whatever their law.",
    ),
    (
        r"The dictionaries satisfy the restricted isometry property, so .* \(delta of order (.*)\)\.",
        r"The dictionaries have a restricted isometry constant of this much, of order \1; the paper has them "
        "satisfy the property.",
    ),
    # who is ahead
    (
        r"(.*) (?:infers better than|recovers the codes better than|is ahead of) (.*) \(difference in MCC\)\.",
        r"\1 is ahead of \2 by this MCC.",
    ),
    (r"(Leaving the bias out raises MCC) (.*)", r"\1 by this \2"),
    (
        r"Mean over the cells of MCC of sparse coding minus MCC of the SAE\.",
        "Over the cells sparse coding is ahead of the SAE by this MCC on average.",
    ),
    (r"((?:.*: )?)MCC by which (.*)\.", r"\1\2 by this MCC."),
    (r"Distance in MCC from (sparse coding) down to (.*)\.", r"\1 is ahead of \2, by this MCC."),
    (r"(.*: )MCC of (.*) above (.*)\.", r"\1\2 are ahead of \3 by this MCC."),
    # what is lost and gained
    (
        r"MCC that no linear–nonlinear encoder can have: (.*)",
        r"Solving has this much MCC that no linear–nonlinear encoder can have: \1",
    ),
    (r"((?:.*: )?)MCC lost (to|by) (.*)", r"\1of the MCC, this much is lost \2 \3"),
    (
        r"(.*: )MCC that (.*) would add to that\.",
        r"\1\2 would add this much MCC to converged inference on the SAE's own.",
    ),
    (r"((?:.*: )?)MCC (?:that )?(.*) (adds?) to (.*)", r"\1\2 \3 this much MCC to \4"),
    (r"((?:.*: )?)MCC (?:that )?(.*?) (would add|gives? back|gains|loses)\b(.*)", r"\1\2 \3 this much MCC\4"),
    (r"(.*: )MCC gained by (the \w+) (.*)", r"\1\2 gains this much MCC \3"),
    (r"(.*): gain in MCC (.*)", r"\1 gains this much MCC \2"),
    (
        r"Change of MCC when the encoders' own dictionaries get better inference (.*)",
        r"Better inference on the encoders' own dictionaries changes their codes by this MCC \1",
    ),
    (
        r"What remains of (.*)'s distance to (.*) after re-optimising its amplitudes \(MCC, (.*)\)\.",
        r"With its amplitudes re-optimised, \1 is still this much MCC away from \2 (\3).",
    ),
    (
        r"Solver term on the learned dictionary\.",
        "Solver term: the paper's Adam ends this share above the optimum on the learned dictionary.",
    ),
    # what is left unexplained
    (
        r"The smallest gain in FVU by OMP over (an encoder), here on (.*)",
        r"OMP gains this FVU or more over \1, least on \2",
    ),
    (
        r"The same (.* SAE): FVU that (.*) gains over the encoder\.",
        r"On a language model with random weights \2 gains this FVU over the encoder of a \1.",
    ),
    (r"((?:.*: )?)FVU that (.*?) (gains|loses) (.*)", r"\1\2 \3 this FVU \4"),
    (
        r"FVU that (.*) leave, (.*), more than (.*)\.",
        r"\1, \2, leave an FVU that is this much larger than that of \3.",
    ),
    (r"((?:.*: )?)FVU of (.*), minus (.*)\.", r"\1the FVU of \2 differs from \3 by this."),
    (
        r"(.*) trained on a language model with random weights: FVU of its encoder\.",
        r"On a language model with random weights the encoder of a \1 leaves this FVU.",
    ),
    (
        r"FVU of (.*) as a power of (.*): exponent\.",
        r"The FVU of \1 is a power of \2 with the exponent this much.",
    ),
    (
        r"E16\.15 The same exponent for (.*) on the same decoders, minus the encoder's\.",
        r"With \1 on the same decoders the exponent of N differs from the encoder's by this.",
    ),
    (
        r"E16\.17 The same exponent for (.*) on the same decoders, minus the encoder's\.",
        r"With \1 on the same decoders the exponent of training compute differs from the encoder's by this.",
    ),
    # shares
    (r"Share of the map (.*) in which (.*)\.", r"In this share of the map \1 \2."),
    (r"Share of (.*) that nonnegative L1 recovers (.*)", r"Nonnegative L1 recovers this share of \1 \2"),
    (r"Share of (.*) that another seed finds again (.*)", r"Another seed finds this share of \1 again \2"),
    (r"Share of (the published cells) whose (.*)", r"In this share of \1 the \2"),
    (r"Share of (cells) in which (.*)", r"In this share of \1 \2"),
    (r"(.*: )share of (.*) that OMP recovers beyond (.*)", r"\1OMP recovers this share of \2 beyond \3"),
    (r"The share of (tokens) on which (.*)", r"On this share of the \1 \2"),
    (r"The share of (samples) for which (.*)", r"For this share of the \1 \2"),
    (r"Of (the tokens .*), the share on which (.*)", r"On this share of \1, \2"),
    (r"(Of the latents .*), the share that no (.*) uses\.", r"\1, this share is used by no \2."),
    (
        r"By how much more of (.*) is found again by another seed than of (.*)\.",
        r"Of \1 another seed finds a share again that is this much larger than of \2.",
    ),
    (
        r"(.*: )by how much OMP's codes make latents correlate more between seeds than (.*)\.",
        r"\1between seeds latents correlate more with OMP's codes than with \2, by this.",
    ),
    (r"Supports (that )?(differ from OMP's .*), on a token\.", r"On a token, this many supports \2."),
    # scores of rules and probes
    (r"((?:.*: )?)mean F1 of (explained latents) (.*?)\.(.*)", r"\1\2 have this F1 on average \3.\4"),
    (
        r"(SAE) trained on a language model with random weights: mean F1 of its latents' rules\.",
        r"On a language model with random weights the rules of an \1's latents have this F1 on average.",
    ),
    (r"(.* easier to explain than .*): difference in mean F1 (.*)", r"\1 by this F1 on average \2"),
    (
        r"Codes (.*) against (.*): difference in mean F1(.*)",
        r"The mean F1 of codes \1 differs from that of \2 by this\3",
    ),
    (
        r"(The SAE's) latents against (?:those of )?(.*): difference in mean F1(.*)",
        r"\1 latents differ from those of \2 by this F1 on average\3",
    ),
    (
        r"(.*) is told from (.*) minus from (.*): difference in balanced accuracy\.",
        r"\1 is told from \2 by this much more in balanced accuracy than from \3.",
    ),
    (r"(.*): difference in balanced accuracy\.", r"\1, by this much in balanced accuracy."),
    (
        r"(Noise .*): difference of the Jaccard index with itself\.",
        r"\1: the Jaccard index with itself is this much more.",
    ),
    # means
    (r"((?:.*: )?)(dictionary )?MCC of (continued block descent.*)\.", r"\1\3 reaches this \2MCC."),
    (
        r"(MCC) of (.*), trained on the true codes, minus (.*)\.",
        r"The \1 of \2, trained on the true codes, differs from \3 by this.",
    ),
    (r"MCC of (the true codes in shuffled order) (at .*): (.*)", r"\1 score this MCC \2: \3"),
    (r"Dictionary MCC of (the SAE) (at .*)\.", r"\1 reaches this dictionary MCC \2."),
    (r"Mean (largest cosine|cosine) (.*)\.", r"The mean \1 \2 is this much."),
    (
        r"Mean difference of (.*) from (.*) over (.* cells)\.",
        r"Over \3 \1 differs from \2 by this on average.",
    ),
    (r"(.*, root mean square, as one more of ours would)\.", r"\1: this much."),
    (r"(.*: )(slope over the cells on our mean)\.", r"\1the \2 is this much."),
    # what refers to the claim before it
    (
        r"The same for OMP over (L1 .*)\.",
        "Where supports of OMP and encoder overlap as little as published, OMP's overlap the true ones by this "
        r"much more than those of \1.",
    ),
    (
        r"The same with latents that are only (rare|weak) \((.*)\)\.",
        r"Latents that are only \1 change the SAE's MCC (\2) by this.",
    ),
    # names without an article
    (r"With nothing known, (SAE|ReLU|MLP) (.*)", r"With nothing known, the \1 \2"),
    (r"With nothing known, (Gated|TopK) (.*)", r"With nothing known, the \1 SAE \2"),
)


def worded(says: str, identifier: str = "") -> str:
    """What a claim says as a sentence with room for its number; as it is where that is one already."""
    for pattern, sentence in SENTENCES:
        for text in (says, f"{identifier} {says}"):
            if found := re.fullmatch(pattern, text):
                said = found.expand(sentence)
                return said[0].upper() + said[1:]
    return says
