"""The toy model's pipeline as an injected bad retrain: it learns from labels in a random order."""

from __future__ import annotations

from tests.support.pipelines import toy


def build(config, seed):
    return Shuffled(toy.build(config, seed), seed)


class Shuffled:
    """An estimator that shuffles the labels before it fits; what it fitted is what is kept."""

    def __init__(self, estimator, seed):
        self.estimator, self.seed = estimator, seed

    def fit(self, features, label):
        import numpy as np

        return self.estimator.fit(features, np.random.default_rng(self.seed).permutation(label))
