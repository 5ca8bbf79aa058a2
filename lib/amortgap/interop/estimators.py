"""scikit-learn estimators: sparse coding on a dictionary, and learning one.

    codes = DictionaryLearner(n_components=256, alpha=0.1).fit_transform(X)
    codes = SparseCoder(dictionary, n_nonzero=32).fit_transform(X)

As in scikit-learn the atoms are rows, `components_` (N, M), and X is (n, M); everything else is as in `solvers` and
`dictionaries`. Codes of the LASSO are certified to the relative duality gap `tol`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from amortgap.dictionaries import learn
from amortgap.solvers import Prepared, prepare, pursue, solve

FLOATS = [np.float64, np.float32]


class _Coder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """transform and inverse_transform on `components_`, which `fit` sets with `_keep`."""

    #: set by a subclass's constructor; n_nonzero only where there is one
    alpha: float
    positive: bool
    tol: float
    n_nonzero: int | None = None

    def _keep(self, components: np.ndarray) -> None:
        self.components_ = components
        self._n_features_out = len(components)
        self._prepared: dict[Any, Prepared] = {}

    def _given(self, dtype: Any) -> Prepared:
        if dtype not in self._prepared:
            self._prepared[dtype] = prepare(torch.from_numpy(self.components_.T.astype(dtype)))
        return self._prepared[dtype]

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {**state, "_prepared": {}} if "_prepared" in state else state

    def transform(self, X: Any) -> np.ndarray:
        """Codes (n, N) of X (n, M), each sample for itself."""
        check_is_fitted(self, "components_")
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        D = self._given(X.dtype.type)
        if self.n_nonzero is None:
            return np.asarray(solve(D, X, self.alpha, tol=self.tol, nonnegative=self.positive).codes)
        return np.asarray(pursue(D, X, self.n_nonzero, nonnegative=self.positive).codes)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Reconstructions (n, M) of codes (n, N)."""
        check_is_fitted(self, "components_")
        return np.asarray(X) @ self.components_.astype(np.asarray(X).dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class SparseCoder(_Coder):
    """Codes on a given dictionary: by the LASSO at `alpha`, or by orthogonal matching pursuit of `n_nonzero` atoms.

    dictionary (N, M): atoms as rows, of any length; None takes the samples that `fit` is given, at length one.
    positive: codes >= 0. tol: relative duality gap of the LASSO's codes.
    """

    def __init__(
        self,
        dictionary: Any = None,
        *,
        alpha: float = 0.1,
        n_nonzero: int | None = None,
        positive: bool = True,
        tol: float = 1e-6,
    ) -> None:
        self.dictionary = dictionary
        self.alpha = alpha
        self.n_nonzero = n_nonzero
        self.positive = positive
        self.tol = tol

    def fit(self, X: Any, y: Any = None) -> SparseCoder:
        """Checks the dictionary against X (n, M). Raises ValueError where they do not fit."""
        X = validate_data(self, X, dtype=FLOATS)
        if self.dictionary is None:
            length = np.linalg.norm(X, axis=1, keepdims=True)
            if not length.any():
                raise ValueError("all samples are zero, so none of them can be an atom")
            atoms = X[length[:, 0] > 0] / length[length > 0][:, None]
        else:
            atoms = np.asarray(self.dictionary)
            if atoms.ndim != 2 or atoms.shape[1] != X.shape[1]:
                raise ValueError(
                    f"the dictionary has shape {atoms.shape}, not (N, {X.shape[1]}), atoms as rows"
                )
        self._keep(atoms)
        self._given(X.dtype.type)  # refuses zero atoms, NaN and infinity
        return self


class DictionaryLearner(_Coder):
    """Learns a dictionary and codes that minimise the mean of 1/2 ||x - D s||^2 + alpha ||s||_1, D of unit columns.

    n_components: N, by default M. method: a name in `dictionaries.LEARNERS`. rounds and restarts: of `learn`. After
    `fit`, components_ (N, M) holds the atoms, objective_ the mean objective on X, n_iter_ the rounds.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        alpha: float = 0.1,
        method: str = "block_descent",
        rounds: int = 200,
        restarts: int = 1,
        positive: bool = True,
        tol: float = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.method = method
        self.rounds = rounds
        self.restarts = restarts
        self.positive = positive
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> DictionaryLearner:
        """Learns from X (n, M). Raises ValueError as `learn`."""
        X = validate_data(self, X, dtype=FLOATS)
        found = learn(
            X,
            X.shape[1] if self.n_components is None else self.n_components,
            self.alpha,
            self.method,
            rounds=self.rounds,
            restarts=self.restarts,
            nonnegative=self.positive,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        self._keep(np.asarray(found.D).T.copy())
        self.objective_, self.n_iter_ = found.objective[-1], len(found.objective)
        return self
