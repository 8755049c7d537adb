"""The whole flow on a plain folder as tracker and registry, where neither MLflow nor Prefect can be imported."""

import json
import os
import subprocess
import sys

import pytest
from small_project import commit, environment, git, sacpipe

from sacpipe.params.model import Params


@pytest.fixture
def without_mlflow(tmp_path, monkeypatch):
    """Packages that fail at import, before MLflow and Prefect on the search path of every process."""
    for name in ("mlflow", "prefect"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text(f"raise ImportError('{name} is blocked')\n")
    paths = [str(tmp_path / "blocked"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    script = "try:\n    import mlflow\nexcept ImportError as exc:\n    print(exc)"
    seen = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True
    )
    assert seen.stdout == "mlflow is blocked\n"


@pytest.mark.acceptance
def test_run_lineage_follow_and_rebuild_need_no_mlflow(fresh, without_mlflow):
    (fresh / "sacpipe.yaml").write_text("tracking: folder\n")
    git(fresh, "add", "--all")
    git(fresh, "commit", "--quiet", "--message", "a folder")
    ran = json.loads(sacpipe(fresh, "run", "--engine", "local", "--json", check=0).out)
    assert set(ran["outcomes"].values()) == {"ran"}
    assert ran["promotion"]["alias"] == "candidate"
    commit(fresh)
    sacpipe(fresh, "promote", "--reason", "the first one", check=0)
    local = fresh / ".sacpipe"
    assert not {"mlflow.db", "mlartifacts"} & {path.name for path in local.iterdir()}
    edges = json.loads(sacpipe(fresh, "lineage", "--json", check=0).out)
    assert len(edges) >= 17
    assert "train run -> commit" in {edge["name"] for edge in edges}

    name = Params.load(fresh / "params.yaml").release.model_name
    for run in (local / "tracking" / "runs").glob("*/run.json"):
        run.write_text("{")
    refused = sacpipe(fresh, "run", "--engine", "local", check=3)
    assert "run.json cannot be read as JSON" in refused.err
    rebuilt = sacpipe(fresh, "ledger", "rebuild", check=0)
    assert "tracking.1 now" in rebuilt.out
    assert f"{name}/1: bundle {ran['bundle_digest'][:12]}" in rebuilt.out
    assert f"{name}@champion: version 1\n" in rebuilt.out
    sacpipe(fresh, "lineage", check=0)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["variable", "file"])
def test_an_unknown_tracker_is_refused_before_work_with_the_nearest_name(project, call, how, monkeypatch):
    if how == "file":
        (project / "sacpipe.yaml").write_text("tracking: foldr\n")
    else:
        monkeypatch.setenv("SACPIPE_TRACKING", "foldr")
    seen = call(project, "run", "--engine", "local")
    assert (seen.code, seen.out) == (2, "")
    assert "tracking.name: tracker 'foldr': expected one of folder, mlflow" in seen.err
    assert {"variable": "SACPIPE_TRACKING: ", "file": "sacpipe.yaml: "}[how] in seen.err
