"""Fixtures of a project whose stages ran under DVC. Tests work on copies."""

import shutil
from pathlib import Path

import pytest
from ledger_project import GRAPH, PARAMS, SCRIPT, commit, git, repro


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository under git and DVC whose stages ran once, from a commit. Tests work on copies."""
    root = tmp_path_factory.mktemp("trained")
    site = tmp_path_factory.mktemp("site")
    (root / ".dvc").mkdir()
    config = f"[core]\n no_scm = true\n check_update = false\n analytics = false\n site_cache_dir = {site}\n"
    files = {
        ".dvc/config": config,
        ".dvcignore": "__pycache__/\n",
        ".gitignore": "/out/\n/work/\n/.sacpipe/\n__pycache__/\n/.dvc/cache\n/.dvc/tmp\n",
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
        "stages.py": SCRIPT,
        "code/a.py": "a",
        "code/b/c.py": "c",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "init", "-q")
    commit(root)
    repro(root)
    return root


@pytest.fixture(scope="session")
def retrained(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same repository after a change of code and seed that was run and not committed."""
    root = tmp_path_factory.mktemp("retrained") / "project"
    shutil.copytree(trained, root)
    (root / "params.yaml").write_text(PARAMS.replace("seed: 1", "seed: 2"))
    (root / "code" / "new.py").write_text("new")
    repro(root)
    return root


@pytest.fixture(scope="session")
def generations(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after trainings of the seeds 1, 2 and 3, each committed, with DVC that reads commits.

    `generations/N` beside it has the out/ and the dvc.lock of each.
    """
    folder = tmp_path_factory.mktemp("generations")
    root = folder / "project"
    shutil.copytree(trained, root)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace(" no_scm = true\n", ""))
    git(root, "config", "user.name", "An Operator")
    git(root, "config", "user.email", "operator@example.org")
    for seed in (1, 2, 3):
        (root / "params.yaml").write_text(PARAMS.replace("seed: 1", f"seed: {seed}"))
        repro(root)
        commit(root)
        kept = folder / str(seed)
        kept.mkdir()
        shutil.copytree(root / "out", kept / "out")
        shutil.copy(root / "dvc.lock", kept)
    return folder
