"""The scikit-learn estimators: scikit-learn's own checks, and that they are the solvers they stand for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from amortgap.interop.estimators import DictionaryLearner, SparseCoder
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, solve

P = SparseProblem(N=24, M=12, K=2, n=200, noise=0.01, seed=0)
X, D = P.x.double().numpy(), P.D.double().numpy()


@parametrize_with_checks([SparseCoder(), SparseCoder(n_nonzero=1), DictionaryLearner(rounds=5)])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_the_coder_is_the_solver():
    coder = SparseCoder(D.T, alpha=0.05).fit(X)
    codes = coder.transform(X)
    assert np.allclose(codes, solve(D, X, 0.05).codes, atol=1e-9)
    assert (codes >= 0).all()
    assert np.allclose(coder.inverse_transform(codes), codes @ D.T)
    greedy = SparseCoder(D.T, n_nonzero=2).fit_transform(X)
    assert np.allclose(greedy, pursue(D, X, 2).codes, atol=1e-9)
    assert (SparseCoder(D.T, alpha=0.05, positive=False).fit_transform(X) < 0).any()


def test_the_learner_explains_more_than_its_start_and_in_a_pipeline():
    learner = DictionaryLearner(24, alpha=0.05, rounds=60, random_state=0).fit(X)
    assert learner.components_.shape == (24, 12)
    assert np.allclose(np.linalg.norm(learner.components_, axis=1), 1)
    objective = solve(learner.components_.T, X, 0.05).objective.mean()
    assert learner.objective_ == pytest.approx(objective, rel=1e-3)
    start = X[:24] / np.linalg.norm(X[:24], axis=1, keepdims=True)
    assert objective < solve(start.T, X, 0.05).objective.mean()
    again = clone(learner).fit(X)
    assert np.array_equal(again.components_, learner.components_)
    shapes = make_pipeline(StandardScaler(), clone(learner)).fit_transform(X).shape
    assert shapes == (200, 24)


def test_a_fitted_coder_can_be_stored():
    coder = SparseCoder(D.T).fit(X)
    coder.transform(X)
    assert np.allclose(pickle.loads(pickle.dumps(coder)).transform(X), coder.transform(X))
    assert coder.transform(X.astype(np.float32)).dtype == np.float32


def test_dictionaries_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="atoms as rows"):
        SparseCoder(D).fit(X)
    with pytest.raises(ValueError, match="column 3 of the dictionary D is zero"):
        SparseCoder(np.where(np.arange(24)[:, None] == 3, 0, D.T)).fit(X)
    with pytest.raises(ValueError, match="all samples are zero"):
        SparseCoder().fit(np.zeros((5, 3)))
