"""Sparse probing: how well do the k best latents tell texts of two or more classes apart?

Each window is its mean code; the k latents are those whose class means differ most on the training windows (in
units of the within-class spread), and a logistic regression on them is scored on windows of other documents.
Gurnee et al., Finding Neurons in a Haystack (2023), section 3.
"""

from __future__ import annotations

import numpy as np


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


def _largest(x: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The k columns with the largest ratio of variance between the class means to variance within."""
    from sklearn.feature_selection import f_classif

    alive = np.flatnonzero(x.std(0) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(f_classif(x[:, alive], labels)[0], posinf=np.finfo(float).max)
    return np.asarray(alive[np.argsort(-ratio, kind="stable")[:k]])
