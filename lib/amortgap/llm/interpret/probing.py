"""Sparse probing: how well do the k best latents tell texts of two or more classes apart?

Each window is its mean code; the k latents are those whose class means differ most on the training windows (in
units of the within-class spread), and a logistic regression on them is scored on windows of other documents.
Gurnee et al., Finding Neurons in a Haystack (2023), section 3.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student


def pool(codes: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean code of each window (W, N), and the windows' numbers (W,)."""
    windows, place = np.unique(window, return_inverse=True)
    total = np.zeros((len(windows), codes.shape[1]))
    np.add.at(total, place, codes)
    return total / np.bincount(place)[:, None], windows


def probe(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, k: int, seed: int = 0
) -> dict[str, float]:
    """Balanced accuracy on the test windows with the k best latents, with k random ones, and with labels shuffled.

    train (W, N), test (W', N): pooled codes. Raises ValueError unless both have two classes, and for k > N.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.preprocessing import StandardScaler

    if len(set(labels)) < 2 or set(test_labels) - set(labels):
        raise ValueError("a probe needs two classes or more, each of them among the training windows")
    if not 1 <= k <= train.shape[1]:
        raise ValueError(f"k must be between 1 and {train.shape[1]}, not {k}")
    scaler = StandardScaler().fit(train)
    x, x_test = scaler.transform(train), scaler.transform(test)
    draw = np.random.default_rng(seed)

    def accuracy(columns: np.ndarray, y: np.ndarray) -> float:
        fitted = LogisticRegression(max_iter=2000, class_weight="balanced").fit(x[:, columns], y)
        return float(balanced_accuracy_score(test_labels, fitted.predict(x_test[:, columns])))

    shuffled = draw.permutation(labels)
    return {
        "best": accuracy(_largest(x, labels, k), labels),
        "random": accuracy(draw.permutation(x.shape[1])[:k], labels),
        "shuffled": accuracy(_largest(x, shuffled, k), shuffled),
        "chance": 1 / len(set(labels)),
    }


def redrawn(labels: np.ndarray, document: np.ndarray, seed: int) -> np.ndarray:
    """Numbers of training windows, their documents drawn anew with replacement; each class keeps a document.

    labels, document (W,): of each window. What the probe's accuracy then varies by is its reseed noise.
    """
    draw = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in sorted(set(labels)):
        names = np.unique(document[labels == label])
        for name in draw.choice(names, len(names)):
            chosen += np.flatnonzero((document == name) & (labels == label)).tolist()
    return np.array(chosen)


def detectable(spread: float, runs: int) -> float:
    """The least difference of two methods' means that a two-sided t test at 5 % finds four times in five.

    spread: standard deviation of one method's score over its `runs`: (t_.975 + t_.8) spread sqrt(2 / runs), with
    2 runs - 2 degrees of freedom. Raises ValueError for fewer than two runs.
    """
    if runs < 2:
        raise ValueError(f"a spread needs two runs or more, not {runs}")
    quantiles = student.ppf([0.975, 0.8], 2 * runs - 2).sum()
    return float(quantiles * spread * (2 / runs) ** 0.5)


def _largest(x: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The k columns with the largest ratio of variance between the class means to variance within."""
    from sklearn.feature_selection import f_classif

    alive = np.flatnonzero(x.std(0) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(f_classif(x[:, alive], labels)[0], posinf=np.finfo(float).max)
    return np.asarray(alive[np.argsort(-ratio, kind="stable")[:k]])
