"""The report refuses missing and malformed files by name, and warns of files that differ from dvc.lock."""

import html
import json
import re

import pytest
from ruamel.yaml import YAML

from sacpipe.core.errors import BundleError, ConfigError, PoolError, SacpipeError, StorageError
from sacpipe.core.files import sha256_bytes, write_bytes


def written(project):
    """Return the text of the page without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", project.page()))


def test_a_missing_output_is_named_with_the_command_that_restores_it(fresh):
    fresh.workspace.curve.unlink()
    (fresh.workspace.export / "bundle" / "policy.onnx").unlink()
    with pytest.raises(
        StorageError, match=r"2 file.*curve\.csv.*policy\.onnx.*`dvc pull`.*`sacpipe run`"
    ) as caught:
        fresh.page()
    assert caught.value.exit_code == 2
    assert not (fresh.root / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "old", "new", "error", "message"),
    [
        (
            "results/curve.csv",
            "deterministic,0,0,",
            "deterministic,0,0,nan,#",
            StorageError,
            r"line 2.*finite number",
        ),
        ("results/curve.csv", "env_steps", "steps", StorageError, r"line 2: no 'env_steps'"),
        (
            "out/train/metrics.jsonl",
            '"critic/loss": ',
            '"critic/loss": NaN, "x": ',
            StorageError,
            r"line 1.*finite",
        ),
        ("out/train/metrics.jsonl", "{", "[", StorageError, r"line 1"),
        (
            "out/train/metrics.json",
            "gradient_steps",
            "updates",
            StorageError,
            r"gradient_steps: missing",
        ),
        ("out/train/pool/manifest.json", '"format_version": 2', '"format_version": 9', PoolError, r"found 9"),
        ("out/export/bundle/contract.json", "0.05", "0.04", BundleError, r"contract\.json.*SHA-256"),
        ("out/evaluate/metrics.json", '"bundle"', '"robot"', StorageError, r"bundle: missing"),
        ("out/evaluate/metrics.json", '"return_iqm"', '"iqm"', StorageError, r"return_iqm: missing"),
        ("results/episodes.csv", "bundle,", "robot,", StorageError, r"expected the key 'bundle'"),
        ("results/episodes.csv", "true", "maybe", StorageError, r"true or false"),
        (
            "params.yaml",
            "confidence: 0.95",
            "confidence: .nan",
            ConfigError,
            r"values that JSON can hold",
        ),
        ("params.yaml", "suite:", "world:", ConfigError, r"task\.suite.*found KeyError: 'suite'"),
        (
            "dvc.lock",
            "  evaluate:",
            "  assess:",
            StorageError,
            r"expected the stages train, export, evaluate, found no evaluate",
        ),
        ("dvc.lock", "schema: '2.0'", "schema: '9.0'", SacpipeError, r"schema 2\.0"),
    ],
)
def test_malformed_outputs_are_refused_with_file_and_place(
    fresh, place: str, old: str, new: str, error: type[SacpipeError], message: str
):
    path = fresh.root / place
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(
        re.sub(rf"{re.escape(old)}[-.\d]*", new, text, count=1) if "#" in new else text.replace(old, new)
    )
    with pytest.raises(error, match=message) as caught:
        fresh.page()
    assert path.name in str(caught.value)


@pytest.mark.slow
def test_present_params_that_are_not_those_of_the_outputs_are_pointed_out(fresh):
    assert "Warning." not in written(fresh)
    fresh.params["algorithm"]["discount"] = 0.98
    fresh.params["algorithm"]["tau"] = 0.01
    fresh.params["release"]["auto"] = True  # no stage reads it: not stale
    with fresh.workspace.params.open("w") as file:
        YAML().dump(fresh.params, file)
    text = written(fresh)
    assert (
        "Warning. params.yaml has changed since these outputs were made (algorithm.discount, algorithm.tau)."
        in text
    )


@pytest.mark.slow
def test_a_file_that_dvc_does_not_know_is_pointed_out(fresh):
    path = fresh.workspace.curve
    path.write_text(path.read_text().replace("stochastic", "deterministic"))
    assert "results/curve.csv differs from the file in dvc.lock." in written(fresh)


@pytest.mark.slow
def test_a_bundle_of_another_policy_or_pool_is_pointed_out(fresh):
    write_bytes(fresh.workspace.train / "policy.safetensors", b"other weights")
    manifest = fresh.workspace.train / "pool" / "manifest.json"
    before = sha256_bytes(manifest.read_bytes())
    manifest.write_text(manifest.read_text().replace("c" * 64, "d" * 64))
    fresh.write_lock()
    text = written(fresh)
    assert f"The bundle was exported from the policy {sha256_bytes(b'weights')[:10]}; out/train has" in text
    assert f"The bundle was exported from the pool {before[:10]}; out/train has" in text


@pytest.mark.slow
def test_earlier_experience_is_part_of_the_lineage(fresh):
    lock = YAML(typ="safe").load(fresh.workspace.dvc_lock)
    pool = {"sha256": "a" * 64, "share": 0.5}
    lock["stages"]["train"]["params"]["params.yaml"]["replay"] = {"initial_pool": pool}
    with fresh.workspace.dvc_lock.open("w") as file:
        YAML().dump(lock, file)
    page = fresh.page()
    assert "earlier pool" in page
    assert "a" * 64 in page


@pytest.mark.slow
def test_the_weights_that_a_training_began_with_are_part_of_the_lineage(fresh):
    lock = YAML(typ="safe").load(fresh.workspace.dvc_lock)
    start = {"sha256": "b" * 64, "parts": "all", "first_actions": "policy"}
    lock["stages"]["train"]["params"]["params.yaml"]["training"] = {"warm_start": start}
    with fresh.workspace.dvc_lock.open("w") as file:
        YAML().dump(lock, file)
    page = fresh.page()
    assert "weights of an earlier run in the training" in page
    assert "b" * 64 in page


@pytest.mark.slow
def test_the_kept_policy_is_named_beside_the_curve(fresh):
    assert "was kept" not in fresh.page()
    path = fresh.workspace.train / "metrics.json"
    kept = {"kept": {"env_steps": 90_000, "return_mean": 5321.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | kept))
    assert "The policy of step 90,000 was kept: its evaluation was the best, 5,321" in fresh.page()
