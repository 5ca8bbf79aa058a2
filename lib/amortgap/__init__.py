"""How much is lost when a sparse code is read off by a feed-forward encoder instead of being solved for.

What people need most, one example each. Numpy arrays may stand wherever tensors do.

A problem whose answer is known: N latents, M measurements, K active.

>>> from amortgap.problem import SparseProblem
>>> p = SparseProblem(N=16, M=8, K=3, n=256, seed=0)
>>> p.D.shape, p.codes.shape, p.x.shape
(torch.Size([8, 16]), torch.Size([256, 16]), torch.Size([256, 8]))

Solving for the codes, each with a certificate:

>>> from amortgap.solvers import solve
>>> s = solve(p.D, p.x, alpha=0.0025)
>>> bool(s.converged.all()), bool(s.duality_gap.max() < 1e-5)
(True, True)

A certificate for codes from anywhere, computed in the precision of what is given:

>>> from amortgap.objectives import duality_gap
>>> bool(duality_gap(p.D.double(), p.x.double(), s.codes.double(), alpha=0.0025).max() < 1e-4)
True

At most K active latents, greedily:

>>> from amortgap.solvers import pursue
>>> int((pursue(p.D, p.x, K=3).codes > 0).sum(dim=1).max())
3

Scores: mean correlation with the true codes after the best matching of latents, and what chance gives.

>>> from amortgap.metrics import chance_mcc, mcc
>>> bool(mcc(p.codes, s.codes) > 0.98), bool(chance_mcc(p.codes, s.codes) < 0.2)
(True, True)

An encoder, trained on reconstruction and sparsity with the dictionary given:

>>> from amortgap.encoders import ReLUEncoder
>>> from amortgap.training import fit, stack
>>> encoder = stack([ReLUEncoder(8, 16, D=p.D, seed=0)])
>>> history = fit(encoder, p.x[None], steps=20, l1_weight=0.01)
>>> encoder.encode(p.x[None]).shape
torch.Size([1, 256, 16])

The best score that any linear map followed by any nonlinearity reaches, as far as a search finds:

>>> from amortgap.theory import mcc_ceiling
>>> bool(mcc_ceiling(p.D, K=3, restarts=2).mcc < mcc(p.codes, s.codes))
True

What the encoder's codes cost above the optimum of the same objective, sample by sample:

>>> from amortgap.gap import excess_objective
>>> excess = excess_objective(p.D, p.x, encoder.encode(p.x[None])[0].detach(), alpha=0.0025)
>>> excess.shape, bool((excess >= 0).all())
(torch.Size([256]), True)

What a dictionary allows:

>>> from amortgap.sensing import coherence, rip_constant
>>> 0 < coherence(p.D) < 1, rip_constant(p.D, order=2) < rip_constant(p.D, order=4)
(True, True)

Other people's SAEs are read by `amortgap.interop.read`:

>>> from amortgap.interop import SAE, read
>>> read("nowhere.safetensors")
Traceback (most recent call last):
FileNotFoundError: ...

What better inference on an SAE's own decoder would buy. This one keeps the three largest entries of D'x; `fvu` is
the share of the variance that is left unexplained. Activations are `Inputs(x)`, or read by `from_path`:

>>> import torch
>>> from amortgap.audit import Inputs, audit
>>> sae = SAE("topk", p.D, torch.zeros(16), p.D.T.contiguous(), torch.zeros(8), k=3)
>>> rows = {row.method: row for row in audit(sae, Inputs(p.x), tokens=64).rows if row.decoder == "SAE"}
>>> rows["OMP"].fvu < rows["encoder"].fvu, rows["OMP"].l0 <= rows["encoder"].l0
(True, True)

A head for that SAE that gives half of this gain back, as a module with `encode` and `decode`. On signals that had
no part in the choice, `test` has the encoder first and the head second:

>>> from amortgap.improve import improve
>>> found = improve(sae, Inputs(p.x), share=0.5, tokens=64, baseline_seconds=0.1)
>>> found.test[1].fvu < found.test[0].fvu, found.module.encode(p.x).shape
(True, torch.Size([256, 16]))
"""

__version__ = "0.1.0"
