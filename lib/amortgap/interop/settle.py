"""What a file says about its SAE, what the caller says, and what nobody said: nothing is guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from amortgap.interop.sae import SAE, architectures

FLAGS = {
    "architecture": "--architecture NAME (and --k K for topk and batchtopk)",
    "k": "--k K",
    "subtract_b_dec": "--subtract-b-dec or --no-subtract-b-dec",
    "normalise": "--normalise NAME",
}

#: top k by magnitude: read as topk of twice as many latents
SIGNED = "abstopk"
#: Architectures that cannot be read, and why.
OTHERS = {
    "temporal": "its latents depend on earlier tokens",
    "transcoder": "its output is not its input, so no code can be fitted to the input",
    "skip_transcoder": "its output is not its input, so no code can be fitted to the input",
    "jumprelu_transcoder": "its output is not its input, so no code can be fitted to the input",
    "jumprelu_skip_transcoder": "its output is not its input, so no code can be fitted to the input",
    "crosscoder": "it reads and writes several layers at once",
    "groupmax": "it takes the largest latent of each group, which no encoder here does",
}


@dataclass(frozen=True)
class Answers:
    """What the caller says of an SAE whose file does not say it."""

    architecture: str | None = None
    k: float | None = None
    subtract_b_dec: bool | None = None
    normalise: str | None = None


@dataclass
class Parts:
    """The tensors of one SAE. Dialects `take` them; what is left over in the end, nobody understood."""

    tensors: dict[str, Tensor]
    answers: Answers
    open: list[str] = field(default_factory=list)
    #: names of all tensors that the file holds
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = sorted(self.tensors)

    def take(self, name: str) -> Tensor:
        """A tensor that must be there."""
        if name not in self.tensors:
            raise ValueError(f"it has no {name}; it has {', '.join(self.names) or 'nothing'}")
        return self.tensors.pop(name)

    def matrix(self, name: str) -> Tensor:
        """A matrix that must be there."""
        if (found := self.take(name)).ndim != 2:
            raise ValueError(f"{name} must be a matrix, but its shape is {tuple(found.shape)}")
        return found

    def get(self, name: str) -> Tensor | None:
        return self.tensors.pop(name, None)

    def settle(self, name: str, said: Any = None, rule: Any = None) -> Any:
        """The value of a question in `FLAGS`: what the file or the caller says, else the dialect's rule.

        Raises ValueError where file and caller disagree. A question that nobody answered stays open.
        """
        asked = getattr(self.answers, name)
        if asked is not None and said is not None and asked != said:
            raise ValueError(f"{name} = {asked} was asked for, but the file says {said}")
        value = next((one for one in (asked, said, rule) if one is not None), None)
        if value is None:
            self.open.append(name)
        return value

    def close(self) -> None:
        """Raises ValueError for a tensor that nobody took, and for questions that nobody answered."""
        if self.tensors:
            names = ", ".join(sorted(self.tensors))
            raise ValueError(f"it holds {names}, which no rule for such an SAE uses")
        if self.open:
            flags = ", ".join(FLAGS[name] for name in self.open)
            raise ValueError(f"it does not say {', '.join(self.open)}; say it with {flags}")

    def build(self, said: dict[str, Any], rule: dict[str, Any], **given: Any) -> SAE:
        """The SAE of `given` parameters, when every question is answered and no tensor is left over.

        said: answers that the file gives, rule: those that follow from its dialect, by the names in `FLAGS`.
        """
        name = self.settle("architecture", said.get("architecture"), rule.get("architecture"))
        kind = architectures().get("topk" if name == SIGNED else name)
        if name is not None and kind is None:
            reason = f": {OTHERS[name]}" if name in OTHERS else ""
            known = ", ".join([*architectures(), SIGNED])
            raise ValueError(f"architecture {name!r} is not one of {known}{reason}")
        k = None if said.get("k") is None else number(said["k"], "k")
        if kind is not None and kind.sparsity == "k" and given.get("threshold") is None:
            given["k"] = self.settle("k", k, rule.get("k"))
        elif kind is not None and kind.sparsity == "k":
            given["k"] = self.answers.k if k is None else k
        elif kind is not None and (k is not None or self.answers.k is not None):
            raise ValueError(
                f"k = {self.answers.k if k is None else k:g} is given, but a {name} SAE has no k"
            )
        # the subtraction of nothing is no question
        zero = None if given["b_dec"].any() else True
        subtract = rule.get("subtract_b_dec", zero)
        given["subtract_b_dec"] = self.settle("subtract_b_dec", said.get("subtract_b_dec"), subtract)
        given["normalise"] = self.settle("normalise", said.get("normalise"), rule.get("normalise"))
        self.close()
        for key, one in given.items():
            if isinstance(one, Tensor) and not one.is_floating_point():
                raise ValueError(f"{key} must hold floating-point numbers, not {one.dtype}")
        given = {key: one.contiguous() if isinstance(one, Tensor) else one for key, one in given.items()}
        return _signed(given) if name == SIGNED else SAE(name, **given)


def _signed(given: dict[str, Any]) -> SAE:
    """The k largest of |h| with their signs are the k largest of relu(h, -h): latent N + i is minus latent i."""
    W_enc, b_enc, W_dec = given.pop("W_enc"), given.pop("b_enc"), given.pop("W_dec")
    given["metadata"] = given.get("metadata", {}) | {"signed": f"latent {len(W_dec)} + i is minus latent i"}
    return SAE(
        "topk",
        W_enc=torch.cat([W_enc, -W_enc], 1),
        b_enc=torch.cat([b_enc, -b_enc]),
        W_dec=torch.cat([W_dec, -W_dec]),
        **given,
    )


def flag(value: Any, name: str) -> bool:
    """A boolean as JSON or metadata give it: True, "true", "False", 0. Raises ValueError for anything else."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if (text := str(value).strip().lower()) in known:
        return known[text]
    raise ValueError(f"{name} must be true or false, not {value!r}")


def number(value: Any, name: str) -> float:
    """A finite number as JSON, metadata or a buffer give it. Raises ValueError for anything else."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, RuntimeError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} must be a number, not {value!r}")
    return found


def agree(config: dict[str, Any], sizes: dict[str, tuple[str, ...]], M: int, N: int) -> None:
    """Raises ValueError where a configuration's widths are not those of the tensors.

    sizes: "M" and "N" -> the names under which this dialect stores them.
    """
    for letter, width in (("M", M), ("N", N)):
        for name in sizes[letter]:
            if config.get(name) is not None and number(config[name], name) != width:
                raise ValueError(f"its configuration says {name} = {config[name]}, but its tensors {width}")
