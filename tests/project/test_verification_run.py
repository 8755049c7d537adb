"""A verification run gets the files of its commit, the run it continues and the pool it begins with."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from factories import make_point_mass
from folder_digest import sha256_tree
from small_project import environment, git
from toy_project import commit, edit, left, snapshot

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.project.verification_run import verification_run
from sacpipe.project.workspace import Workspace
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.records import Transition

KEY = "0123456789abcdef" * 4


def test_a_run_that_continues_another_gets_its_folder(toy, scratch):
    edit(toy / "params.yaml", "extends: null", f"extends: {KEY}")
    commit(toy)
    project = Workspace(toy)
    with (
        pytest.raises(ConfigError, match=rf"continues the run {KEY}.*work/{KEY} is not there"),
        verification_run(project),
    ):
        pass
    folder = project.work(KEY) / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    with verification_run(project) as run:
        assert (run.fresh.work(KEY) / "checkpoints" / "state.json").read_text() == "{}"
    assert (folder / "state.json").is_file()
    edit(toy / "params.yaml", KEY, "..")
    commit(toy)
    with pytest.raises(ConfigError, match=r"continues the run \.\."), verification_run(project):
        pass
    assert left(scratch) == []


def test_a_run_that_begins_with_a_pool_gets_it_from_the_folder_or_from_dvc(toy, tmp_path, scratch):
    """In a project that is a part of a repository: DVC counts a commit's paths from the repository's top."""
    project = Workspace(tmp_path / "repository" / "part")
    shutil.copytree(toy, project.root, ignore=shutil.ignore_patterns(".git", "out"))
    git(project.root.parent, "init", "--quiet")
    spec = make_point_mass().make().spec
    config = PoolConfig(segment_transitions=1, format="full")
    writer, observation = PoolWriter.create(project.initial_pool, spec, config), spec.layout.empty()
    observation.vector[:] = 0.0
    writer.append(Transition(observation, np.zeros(2), 0.0, observation, True, False, 0))
    writer.finish()
    manifest, whole = project.initial_pool / "manifest.json", sha256_tree(project.initial_pool)
    text, digest = manifest.read_text(), sha256_file(manifest)
    pool = f"replay: {{initial_pool: {{sha256: {digest}, share: 0.5}}}}\n"
    edit(project.params, "seed: 1\n", f"seed: 1\n{pool}")
    edit(project.root / ".gitignore", "out/\n", "out/\n/data/pool\n")
    commit(project.root)
    with verification_run(project) as run:
        assert sha256_tree(run.fresh.initial_pool) == whole
    manifest.write_text(text + " ")
    refusal = rf"names the pool {digest} \(replay\.initial_pool\)\. Neither .* has that digest"
    with pytest.raises(ConfigError, match=refusal), verification_run(project):
        pass
    manifest.write_text(text)
    command = [sys.executable, "-P", "-m", "dvc", "add", "--quiet", "data/pool"]
    subprocess.run(command, cwd=project.root, check=True, env=environment())
    commit(project.root)
    shutil.rmtree(project.initial_pool)
    with verification_run(project) as run:
        assert sha256_tree(run.fresh.initial_pool) == whole
    assert left(scratch) == []


def test_a_run_that_begins_with_weights_gets_them_from_the_folder_or_from_dvc(toy, scratch):
    project = Workspace(toy)
    project.warm_start.mkdir(parents=True)
    policy = project.warm_start / "policy.safetensors"
    policy.write_bytes(b"weights")
    digest = sha256_file(policy)
    start = f"{{sha256: {digest}, parts: policy, first_actions: policy}}"
    edit(project.params, "training: {extends: null}", f"training: {{extends: null, warm_start: {start}}}")
    edit(toy / ".gitignore", "out/\n", "out/\n/data/warm_start\n")
    commit(toy)
    with verification_run(project) as run:
        assert (run.fresh.warm_start / policy.name).read_bytes() == b"weights"
    policy.write_bytes(b"others")
    refusal = (
        rf"names the weights {digest} \(training\.warm_start, or the algorithm\)\. Neither .* has that digest"
    )
    with pytest.raises(ConfigError, match=refusal), verification_run(project):
        pass
    policy.write_bytes(b"weights")
    command = [sys.executable, "-P", "-m", "dvc", "add", "--quiet", "data/warm_start"]
    subprocess.run(command, cwd=toy, check=True, env=environment())
    commit(toy)
    shutil.rmtree(project.warm_start)
    with verification_run(project) as run:
        assert (run.fresh.warm_start / policy.name).read_bytes() == b"weights"
    assert left(scratch) == []


def test_a_project_that_is_a_part_of_a_repository_is_placed_alone(toy, tmp_path, scratch):
    repository = tmp_path / "repository"
    shutil.copytree(toy, repository / "part", ignore=shutil.ignore_patterns(".git", "out"))
    (repository / "beside").write_text("another project\n")
    git(repository, "init", "--quiet")
    commit(repository)
    index = snapshot(repository, ".git")
    with verification_run(Workspace(repository / "part")) as run:
        placed = {path.name for path in run.fresh.root.iterdir()}
    of_git = {
        ".dvc",
        ".dvcignore",
        ".gitignore",
        "dvc.yaml",
        "params.yaml",
        "pipelines",
        "results",
        "versions.lock",
    }
    assert placed == of_git | {".sacpipe"}  # the committed episodes, out of the stages' sight
    assert snapshot(repository, ".git") == index
