"""The joint law of  u = a.s  and s_i for each law of supports, as characteristic functions.

    f(t) = E e^(itu),     g(t) = E s_i e^(itu)

phi_j(t) = cf(a_j t), psi(t) = weighted_cf(a_i t), e_k the k-th elementary symmetric polynomial:

    exactly K, uniform     f = e_K(phi_1..phi_N) / C(N, K),      g = psi e_(K-1)(phi without i) / C(N, K)
    Bernoulli(q = K/N)     f = prod_j (1 - q + q phi_j),         g = q psi prod_(j != i) (1 - q + q phi_j)
    Zipf                   f = sum_S P(S) prod_(j in S) phi_j,   g = psi df/dphi_i

Bernoulli leaves f without its atom (no latent active, u = 0, probability (1-q)^N): s_i is 0 there. For a with
zero entries, where u = 0 does not say that no latent is active, this tells the encoder so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

MAX_ZIPF_ENTRIES = 200_000

# (phi (B, N, T), psi (B, T), row (B,), K) -> f (B, T), g (B, T)
JointLaw = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def exactly_k(phi: Tensor, psi: Tensor, row: Tensor, K: int) -> tuple[Tensor, Tensor]:
    own, others = split(phi, row)
    # elementary symmetric polynomials e_0..e_K of the others, one factor (1 + z phi_j) at a time
    e = [torch.ones_like(psi)] + [torch.zeros_like(psi)] * K
    for j in range(others.shape[1]):
        e = [e[0]] + [e[k] + others[:, j] * e[k - 1] for k in range(1, K + 1)]
    count = math.comb(phi.shape[1], K)
    return (e[K] + own * e[K - 1]) / count, psi * e[K - 1] / count


def bernoulli(phi: Tensor, psi: Tensor, row: Tensor, K: int) -> tuple[Tensor, Tensor]:
    N = phi.shape[1]
    q = K / N
    own, others = split(phi, row)
    rest = torch.ones_like(psi)
    for j in range(N - 1):
        rest = rest * (1 - q + q * others[:, j])
    return (1 - q + q * own) * rest - (1 - q) ** N, q * psi * rest


def zipf(phi: Tensor, psi: Tensor, row: Tensor, K: int) -> tuple[Tensor, Tensor]:
    B, N, T = phi.shape
    contracted = zipf_probabilities(N, K).to(phi).reshape(1, *[N] * K, 1)
    for _ in range(K - 1):  # sum over one latent's index after the other
        shape = contracted.shape
        left = contracted.reshape(shape[0], -1, N, shape[-1])
        if left.shape[0] == 1 and left.shape[-1] == 1:
            product = left[0, :, :, 0] @ phi
        else:
            product = (left * phi[:, None]).sum(2)
        contracted = product.reshape(B, *[N] * (contracted.ndim - 3), T)
    contracted = contracted.expand(B, N, T)  # df/dphi_i / K
    one = contracted.gather(1, row[:, None, None].expand(B, 1, T))[:, 0]
    return (contracted * phi).sum(1), K * psi * one


def zipf_probabilities(N: int, K: int) -> Tensor:
    """P(i_1..i_K), symmetric, (N, ..., N): K draws without replacement with weights 1/rank, order forgotten.

    A support S has probability K! P(S). Raises ValueError where N^K exceeds 200 000 entries.
    """
    if N**K > MAX_ZIPF_ENTRIES:
        raise ValueError(
            f"Zipf supports of K = {K} among N = {N} need {N**K} probabilities, more than {MAX_ZIPF_ENTRIES}; "
            "call sampled_eta_squared for a Monte Carlo value"
        )
    w = 1 / torch.arange(1, N + 1, dtype=torch.float64)
    w = w / w.sum()
    probability = torch.ones([1] * K, dtype=torch.float64)
    drawn = torch.zeros([1] * K, dtype=torch.float64)  # weight of the latents drawn so far
    axes = [w.reshape([N if k == j else 1 for j in range(K)]) for k in range(K)]
    for k in range(K):
        probability = probability * axes[k] / (1 - drawn).clamp_min(1e-300)
        drawn = drawn + axes[k]
    index = torch.meshgrid(*[torch.arange(N)] * K, indexing="ij")
    for i, j in itertools.combinations(range(K), 2):
        probability = torch.where(index[i] == index[j], 0.0, probability)
    orders = list(itertools.permutations(range(K)))
    return torch.stack([probability.permute(order) for order in orders]).mean(0)


def split(phi: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """phi (B, N, T) -> latent `row` of each (B, T), and the other N - 1 (B, N-1, T)."""
    B, N, T = phi.shape
    other = torch.arange(N - 1, device=phi.device) + (torch.arange(N - 1, device=phi.device) >= row[:, None])
    own = phi.gather(1, row[:, None, None].expand(B, 1, T))[:, 0]
    return own, phi.gather(1, other[:, :, None].expand(B, N - 1, T))


def activation_rates(N: int, K: int, support: str) -> Tensor:
    """P(latents i and j are both active), (N, N); the diagonal holds P(latent i is active)."""
    if support == "zipf":
        tuples = zipf_probabilities(N, K)
        pairs = tuples.reshape(N, N, -1).sum(2) if K > 1 else torch.zeros(N, N, dtype=torch.float64)
        rates = K * (K - 1) * pairs
        return rates + torch.diag(K * tuples.reshape(N, -1).sum(1))
    both = (K / N) ** 2 if support == "bernoulli" else K * (K - 1) / (N * max(N - 1, 1))
    return torch.full((N, N), both, dtype=torch.float64).fill_diagonal_(K / N)


JOINT_LAWS: dict[str, JointLaw] = {"exactly-k": exactly_k, "bernoulli": bernoulli, "zipf": zipf}


def joint_law(name: str) -> JointLaw:
    """The law called `name`, or ValueError."""
    if not isinstance(name, str) or name not in JOINT_LAWS:
        raise ValueError(f"unknown support law {name!r}; choose one of {sorted(JOINT_LAWS)}")
    return JOINT_LAWS[name]
