"""SAELens' own generator of synthetic worlds (``sae_lens.synthetic``, the extra ``saelens``) as one of ours.

Set as SynthSAEBench-16k is (scripts of SAELens 6.54); at other sizes the number of trees keeps its ratio to N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap import worlds
from amortgap._check import check_count
from amortgap.worlds import World


@torch.no_grad()
def saelens_world(N: int = 16_384, M: int = 768, seed: int = 42, *, steps: int = worlds.STEPS) -> World:
    """A `World` whose dictionary and codes SAELens draws.

    Its orthogonalisation takes a step's N x N products, 20 times the cost of ours at the published size; steps=0
    leaves its columns random, and `worlds.orthogonalised` may follow. Raises ImportError where sae-lens is missing.
    """
    from sae_lens.synthetic import (
        FoldedNormalMagnitudeConfig,
        HierarchyConfig,
        LinearMagnitudeConfig,
        LowRankCorrelationConfig,
        OrthogonalizationConfig,
        SyntheticModel,
        SyntheticModelConfig,
        ZipfianFiringProbabilityConfig,
    )

    N = check_count(N, "N", least=worlds.TREE)
    model = SyntheticModel(
        SyntheticModelConfig(
            num_features=N,
            hidden_dim=M,
            firing_probability=ZipfianFiringProbabilityConfig(
                exponent=worlds.EXPONENT, max_prob=worlds.MOST, min_prob=worlds.LEAST
            ),
            hierarchy=HierarchyConfig(
                total_root_nodes=N // worlds.TREE,
                branching_factor=worlds.BRANCHES,
                max_depth=worlds.DEPTH,
                mutually_exclusive_portion=1.0,
                compensate_probabilities=True,
                scale_children_by_parent=True,
            ),
            orthogonalization=OrthogonalizationConfig(num_steps=steps, lr=worlds.RATE) if steps else None,
            correlation=LowRankCorrelationConfig(rank=worlds.RANK, correlation_scale=worlds.CORRELATION),
            mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
            bias=worlds.BIAS,
            seed=seed,
        )
    )

    def draw(n: int, seed: int) -> Tensor:
        # theirs draws from torch's global generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codes: Tensor = model.activation_generator.sample(n)
        return codes

    D = model.feature_dict.feature_vectors.detach().T.contiguous()
    return World(D, model.feature_dict.bias.detach(), worlds.zipf_rates(N).float(), draw)
