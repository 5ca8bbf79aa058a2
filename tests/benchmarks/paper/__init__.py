"""python -m tests.benchmarks.paper: our training, metric and inference beside a re-creation of the paper's loop.

The paper's experiments with known codes (E1), known dictionary (E2) and neither (E3): 5 runs of every encoder,
1024 samples, full batch; arXiv 2411.13117, section 4. Theirs, as their public code works (authors.py): one
model at a time, a torch module, autograd, torch.optim.Adam, a normalised decoder before each forward pass, a
correlation a latent pair in a Python loop, and 10 000 Adam steps on log-codes at each logged point of E3 (20
000 in all in E2) for inference. Ours: amortgap.training.fit on the 5 runs as one stack, metrics.mcc, and an
exact solve in place of Adam.

Equal steps (race.py). Both start at the same weights on the same data, so the MCC after the same few steps must
agree; it stands beside the times (for inference: their full number of steps against the optimum). Each part (a
step, an evaluation, an inference) is measured by itself, ours and theirs interleaved, medians of processor and
of wall time. Whole experiments are parts times the paper's counts, scaled up linearly by the factor printed.

Equal accuracy (whole.py). Ours trains as we would: mini-batches and a cosine schedule, chosen on other
dictionaries (protocols.py, tried.py), sparse coding by block descent. It is measured whole, once, with as many
logged evaluations as theirs. Accuracy is the criterion that each experiment trains on, and the MCC, both on
fresh test samples; theirs is that after their full number of steps at their constant rate (full_protocol.py).

All run on one thread, where torch is faster on models this small than with its default. Where the paper leaves a
choice it is theirs that gains: a logged point every 500 steps (the last in E3 is 39 501) and numpy's correlation
in the metric.
"""
