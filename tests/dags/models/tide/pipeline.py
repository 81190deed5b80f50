from __future__ import annotations

from typing import Any


def build(config: Any, seed: int) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["harbour"]), remainder=SimpleImputer())
    return make_pipeline(columns, LogisticRegression())
