"""Versions on a real ``mlflow server``, which hands artifacts over itself: checked, and deleted with their files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keel.deployments.version_retention import prune
from keel.errors import ArtifactChanged
from keel.registry import artifacts
from keel.workspace import Workspace
from tests.support.toy import toy_config, toy_rows
from tests.support.versions.toy import register, toy_candidate

pytestmark = [pytest.mark.integration, pytest.mark.slow]
CONFIG = toy_config(promotion={"keep_versions": "24h"})


def test_a_server_gives_back_what_was_registered_or_it_is_refused(mlflow_url, tmp_path, tmp_path_factory):
    now = datetime.now(UTC)
    others = set(tmp_path_factory.getbasetemp().glob("mlflow*/artifacts/**/*"))  # of other tests' servers
    with Workspace.open(home=tmp_path, tracking_uri=mlflow_url, environment={}) as ws:
        for _ in range(2):
            register(ws.store, ws.registry, CONFIG, toy_candidate(), now=now)
        assert ws.registry.preflight(CONFIG, 1, toy_rows().slice(0, 5)).version == 1
        run = ws.registry.client.get_run(ws.registry.resolve("toy", version=1).run_id)
        [logged] = run.outputs.model_outputs
        kept = set(tmp_path_factory.getbasetemp().glob("mlflow*/artifacts/**/*")) - others
        files = {(path.name, part): path for path in kept for part in path.parts}
        model, grid = files["model.skops", logged.model_id], files["grid.npz", run.info.run_id]
        evil = model.with_name("evil.py")
        evil.write_text("raise SystemExit")
        with pytest.raises(ArtifactChanged, match="added: model/evil.py"):
            ws.registry.load(CONFIG, 1, anew=True)
        evil.unlink()
        content = model.read_bytes()
        model.write_bytes(content[:-1] + b"?")
        with pytest.raises(ArtifactChanged, match="changed: model/model.skops"):
            ws.registry.load(CONFIG, 1, anew=True)
        model.unlink()
        with pytest.raises(ArtifactChanged, match="missing: model/model.skops"):
            ws.registry.load(CONFIG, 1, anew=True)
        artifacts._grid.cache_clear()
        grid.rename(grid.with_name("other"))
        with pytest.raises(ArtifactChanged, match="missing: keel/grid.npz"):
            ws.registry.grid("toy", 1)
        deleted = prune(ws.store, ws.registry, CONFIG, now=now + timedelta(days=2), actor="tests")
        assert [due.version for due in deleted] == [1, 2]
        assert ws.registry.versions("toy") == []
        assert [path for path in files.values() if path.is_file()] == []
