"""The toy model's pipeline: a logistic regression on x, z and colour."""

from __future__ import annotations


def build(config, seed):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    numeric = [name for name, kind in config.features.items() if kind == "numeric"]
    categorical = [name for name, kind in config.features.items() if kind == "categorical"]
    columns = make_column_transformer((SimpleImputer(), numeric), (OneHotEncoder(handle_unknown="ignore"), categorical))
    return make_pipeline(columns, LogisticRegression(random_state=seed))
