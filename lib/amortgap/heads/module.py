"""An SAE whose codes a head improves, as a torch module that takes the SAE's place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from amortgap._check import as_number
from amortgap._files import digest, read_json, whole, write_json
from amortgap.heads import HEADS
from amortgap.heads._proposal import Proposal, propose, propose_top
from amortgap.heads._restricted import Found
from amortgap.interop import SAE
from amortgap.solvers.prepared import Prepared, prepare

SETTINGS, WEIGHTS = "head.json", "weights.safetensors"
BLOCK = 2048  # activations at a time: their pre-activations should stay in the caches


def proposal_of(sae: SAE, z: Tensor, ratio: float, norms: Tensor | None = None) -> Proposal:
    """What the SAE's encoder proposes for z (n, M), as `sae.prepare` returns it; amplitudes for unit columns.

    ratio: candidates for each latent that the encoder uses. Of a matching pursuit the next are those that match z
    best. A latent whose decoder row is zero is proposed last and never looked at. norms: of the decoder rows,
    where known; to compute them takes as long as to encode some activations.
    """
    norms = sae.norms if norms is None else norms
    live = norms > 0
    if sae.architecture == "matching_pursuit":
        h, codes = (z - sae.b_dec) @ sae.D, sae.encode(z)
    else:
        h, amplitude = sae.preactivations(z)
        if sae.architecture == "topk" and sae.k is not None and bool(live.all()):
            found = propose_top(h, int(sae.k), ratio)
            scale = 1 if sae.rescaled else norms[found.candidates]
            return found._replace(amplitude=found.amplitude * scale)
        codes = sae.kind.select(h, amplitude, sae.k, sae.threshold)
        codes = codes if sae.rescaled else codes * norms
    found = propose(torch.where(live, h, h.amin() - 1) if len(h) else h, codes, ratio)
    return found._replace(width=found.width.clamp_max(int(live.sum())))


class Improved(nn.Module):
    """codes = head(the encoder's proposal),   x_hat = W_dec' codes + b_dec, on a decoder that stays as it is.

    sae: as `interop.read` gives it. head: a name in HEADS, options: its own. ratio: candidates for each latent that
    the encoder uses on an activation. It stands where the SAE stands: `encode` (.., M) -> (.., N), codes of W_dec's
    own scale, `decode` back, `forward` both, for activations of any leading shape and type; W_enc, b_enc, W_dec and
    b_dec are there, frozen. Where the SAE normalises its input, `decode` undoes that of the last `encode`, as
    SAELens does. The codes of an activation that is not finite are NaN. Raises ValueError for an unknown head,
    ratio < 1, options the head does not have.
    """

    def __init__(self, sae: SAE, head: str = "pursuit", ratio: float = 2.0, **options: Any) -> None:
        super().__init__()
        if not isinstance(head, str) or head not in HEADS:
            raise ValueError(f"unknown head {head!r}; choose one of {', '.join(HEADS)}")
        if not 1 <= as_number(ratio, "ratio") < math.inf:
            raise ValueError(f"an encoder proposes its own latents and more, ratio >= 1, not {ratio}")
        self.head, self.ratio, self.options = head, float(ratio), options
        self._rest = {name: value for name, value in vars(sae).items() if not isinstance(value, Tensor)}
        for name, value in vars(sae).items():
            if isinstance(value, Tensor):
                self.register_parameter(name, nn.Parameter(value.detach().float(), requires_grad=False))
        self._ready: tuple[SAE, Prepared, Tensor] | None = None
        self._undo: Callable[[Tensor], Tensor] = lambda z: z
        try:  # on the smallest problem there is
            one = torch.ones(1, 1, dtype=torch.long)
            HEADS[head](
                prepare(torch.ones(1, 1)),
                torch.ones(1, 1),
                Proposal(0 * one, 1.0 * one, one[0], one[0]),
                **options,
            )
        except TypeError as error:
            raise ValueError(f"the head {head!r} does not take {', '.join(options)}") from error

    def share(self, other: Improved) -> Improved:
        """Takes over what `other`, an improvement of the same SAE, has prepared of its dictionary."""
        self._ready = other._prepared()
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._ready = None  # weights move or change their type
        return super()._apply(fn, recurse)

    @property
    def sae(self) -> SAE:
        """The SAE that it improves."""
        return self._prepared()[0]

    @property
    def given(self) -> Prepared:
        """Its dictionary, prepared."""
        return self._prepared()[1]

    def _prepared(self) -> tuple[SAE, Prepared, Tensor]:
        if self._ready is None:
            tensors: dict[str, Any] = {
                name: value.detach().float() for name, value in self.named_parameters()
            }
            sae = SAE(**tensors, **self._rest)
            D = sae.D.clone()
            D[:, ~sae.live] = 1 / sae.M**0.5  # which no proposal holds
            self._ready = sae, prepare(D), sae.norms
        return self._ready

    def values(self, z: Tensor) -> tuple[Proposal, Found]:
        """The encoder's proposal for z (n, M), as `sae.prepare` returns it, and what the head makes of it."""
        sae, given, norms = self._prepared()
        proposal = proposal_of(sae, z, self.ratio, norms)
        return proposal, HEADS[self.head](given, z - sae.b_dec, proposal, **self.options)

    @torch.no_grad()
    def codes(self, z: Tensor) -> Tensor:
        """Codes (n, N) of W_dec's own scale for z (n, M), as `sae.prepare` returns it."""
        sae, _, norms = self._prepared()
        codes = z.new_zeros(len(z), sae.N)
        length = norms.clamp_min(torch.finfo(z.dtype).tiny)
        for first in range(0, len(z), BLOCK):
            proposal, found = self.values(z[first : first + BLOCK])
            part = codes[first : first + BLOCK]
            part.scatter_add_(1, proposal.candidates, found.values / length[proposal.candidates])
        return codes

    def encode(self, x: Tensor) -> Tensor:
        M = self.sae.M
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ValueError("activations must be a torch tensor of real numbers")
        if x.shape[-1:] != (M,):
            raise ValueError(f"activations must have shape (.., {M}) for this SAE, not {tuple(x.shape)}")
        z, self._undo = self.sae.prepare(x.detach().reshape(-1, M).float())
        finite = z.isfinite().all(1)
        if finite.all():
            codes = self.codes(z)
        else:  # no head can choose there, and in a batch the other rows' choice must not change
            codes = self.codes(torch.where(finite[:, None], z, 0)).masked_fill(~finite[:, None], torch.nan)
        return codes.reshape(*x.shape[:-1], self.sae.N).to(x.dtype)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        sae = self.sae
        z = codes.reshape(-1, sae.N).float() @ sae.W_dec + sae.b_dec
        return self._undo(z).reshape(*codes.shape[:-1], sae.M).to(codes.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def save(self, folder: str | Path) -> None:
        """The SAE's parameters in weights.safetensors, all else in head.json: both or neither.

        Raises FileExistsError where the folder holds a file of these names that no improved SAE wrote.
        """
        folder = Path(folder)
        if any((folder / name).exists() for name in (SETTINGS, WEIGHTS)) and not _written_here(folder):
            raise FileExistsError(
                f"{folder} holds files of another kind, {SETTINGS} or {WEIGHTS}; name another"
            )
        tensors = {name: value.detach().cpu().clone().contiguous() for name, value in self.named_parameters()}
        said = {"head": self.head, "ratio": self.ratio, "options": self.options, "sae": self._rest}
        # where one cannot be written, neither is; the settings, which say whose folder it is, come first
        with whole(folder / WEIGHTS) as weights, whole(folder / SETTINGS) as settings:
            save_file(tensors, weights)
            write_json(settings, said | {"digest": digest(weights)})

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{self._rest['architecture']}, head={self.head}, ratio={self.ratio:g}{options}"


def _written_here(folder: Path) -> bool:
    try:
        return read_json(folder / SETTINGS)["head"] in HEADS
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load(folder: str | Path) -> Improved:
    """What `Improved.save` wrote. Raises FileNotFoundError and ValueError in one sentence."""
    folder = Path(folder)
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no improved SAE: it has no {name}")
    try:
        said = read_json(folder / SETTINGS)
        if "digest" in said and said["digest"] != digest(folder / WEIGHTS):
            raise ValueError(f"{WEIGHTS} is not what was written")
        head, ratio, options = said["head"], float(said["ratio"]), dict(said["options"])
        tensors: dict[str, Any] = load_file(folder / WEIGHTS)
        sae = SAE(**tensors, **said["sae"])
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder} is no improved SAE, or damaged: {error}") from error
    return Improved(sae, head, ratio, **options)
