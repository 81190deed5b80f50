"""The toy model's rows with the label taken for a number: a linear regression on x and z."""

from __future__ import annotations


def build(config, seed):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    numeric = [name for name, kind in config.features.items() if kind == "numeric"]
    return make_pipeline(make_column_transformer((SimpleImputer(), numeric)), LinearRegression())
