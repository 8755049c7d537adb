"""Keys, signatures and the gate on the command line, with the bundle of a finished run."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.signature import key_id

RULES = [
    "files",
    "links",
    "size",
    "signature",
    "manifest",
    "digest",
    "contract",
    "graph",
    "terms",
    "tensors",
    "golden",
    "runtime",
    "timing",
]


@pytest.fixture
def release(finished, tmp_path):
    """A copy of the bundle, in a folder of its own."""
    return Path(shutil.copytree(finished / "out" / "export" / "bundle", tmp_path / "release"))


@pytest.fixture
def public_key(tmp_path, call):
    """Make `release.key`, and return what was printed."""
    made = call(tmp_path, "keys", "release.key")
    assert (made.code, made.err) == (0, "")
    return made.out.strip()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outcomes(text):
    return {
        line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.startswith("  ")
    }


def test_a_key_is_printed_kept_and_never_replaced(tmp_path, call, public_key):
    path = tmp_path / "release.key"
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert call(tmp_path, "keys", "release.key", "--show").out.strip() == public_key
    again = call(tmp_path, "keys", "release.key")
    assert again.code == 2
    assert "release.key: expected no file, found one" in again.err
    assert path.read_bytes() == before


def test_signing_adds_one_file_and_leaves_every_other_byte(tmp_path, call, release, public_key):
    before = contents(release)
    signed = call(tmp_path, "sign", "release", "--key", "release.key")
    assert (signed.code, signed.err) == (0, "")
    assert signed.out == f"bundle {bundle_digest(release)}, signed by {key_id(public_key)}\n"
    assert contents(release) == before | {"manifest.sig": (release / "manifest.sig").read_bytes()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sign", "release", "--key", "no.key"), "no.key: expected an Ed25519 private key, found none"),
        (
            ("sign", "release", "--key", "release/contract.json"),
            "expected an Ed25519 private key, found none",
        ),
        (("sign", "nothing", "--key", "release.key"), "bundle nothing was not signed: expected a folder"),
        (("sign", "release"), "--key, --ecdsa-key: expected one of them or both, found none"),
        (("keys", "no.key", "--show"), "no.key: expected an Ed25519 private key, found none"),
        (("check", "nothing"), "nothing: expected a bundle's folder or a tar file, found nothing there"),
        (("check", "release", "--public-key", "abc"), "public_keys.0: String should match pattern"),
    ],
)
def test_what_is_no_key_and_no_bundle_is_refused(tmp_path, call, release, public_key, arguments, message):
    before = contents(release)
    seen = call(tmp_path, *arguments)
    assert (seen.code, seen.out) == (2, "")
    assert message in seen.err
    assert contents(release) == before


def test_signing_touches_nothing_in_a_folder_that_is_no_bundle(tmp_path, call, public_key):
    (tmp_path / ".somebody.tmp").write_text("theirs")
    before = contents(tmp_path)
    assert call(tmp_path, "sign", ".", "--key", "release.key").code == 2
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["policy.onnx", "contract.json", "golden.npz", "manifest.json"])
def test_a_damaged_bundle_is_neither_signed_nor_passed(tmp_path, call, release, public_key, name):
    (release / name).chmod(0o644)
    os.truncate(release / name, 100)
    before = contents(release)
    signed = call(tmp_path, "sign", "release", "--key", "release.key")
    assert (signed.code, name in signed.err) == (2, True)
    checked = call(tmp_path, "check", "release")
    assert (checked.code, checked.out) == (1, "")
    rule = "manifest" if name == "manifest.json" else "digest"
    assert checked.err.startswith(f"sacpipe: release: refused by the rule '{rule}': {name}: ")
    assert contents(release) == before


@pytest.mark.parametrize("name", ["out/export/bundle", "./out/export/../export/bundle/", "link", "release"])
def test_an_output_of_dvc_is_not_signed(finished, tmp_path, call, public_key, name):
    """A signature in it would change what DVC tracks. A name elsewhere is no way around."""
    bundle = finished / "out" / "export" / "bundle"
    before = contents(bundle)
    where = finished
    if name in ("link", "release"):
        (tmp_path / name).symlink_to(bundle)
        where = tmp_path
    seen = call(where, "sign", name, "--key", str(tmp_path / "release.key"))
    assert (seen.code, seen.out) == (2, "")
    assert f"found {bundle}, which DVC tracks" in seen.err
    assert "Copy it with `cp -rL`" in seen.err
    assert contents(bundle) == before


def test_check_takes_the_terms_of_a_server(tmp_path, call, release, public_key):
    (tmp_path / "terms.yaml").write_text(
        "gate: {weakest_guards: [{name: action_change, fallback: limit, max_change: 0.5}]}\n"
    )
    refused = call(tmp_path, "check", "release", "--terms", "terms.yaml")
    assert refused.code == 1
    assert (
        "refused by the rule 'terms': contract.json: runtime.guards.action_change.max_change: expected at most"
        in refused.err
    )
    (tmp_path / "terms.yaml").write_text(f"gate: {{public_keys: ['{public_key}']}}\n")
    unsigned = call(tmp_path, "check", "release", "--terms", "terms.yaml")
    assert (unsigned.code, "manifest.sig: missing" in unsigned.err) == (1, True)
    call(tmp_path, "sign", "release", "--key", "release.key")
    assert call(tmp_path, "check", "release", "--terms", "terms.yaml").code == 0


def test_check_says_what_each_rule_found(tmp_path, call, release):
    seen = call(tmp_path, "check", "release")
    assert (seen.code, seen.err) == (0, "")
    found = outcomes(seen.out)
    assert list(found) == RULES
    assert found["signature"] == "not checked"
    assert found["timing"].startswith("passed 99 of 100 actions within ")
    assert found["timing"].endswith(" of 80000 us allowed")  # 0.8 of the point mass's period of 0.1 s
    assert {found[rule] for rule in RULES if rule not in ("signature", "timing", "golden")} == {"passed"}


def test_with_a_key_check_asks_for_its_signature(tmp_path, call, release, public_key):
    unsigned = call(tmp_path, "check", "release", "--public-key", public_key)
    assert (unsigned.code, unsigned.out) == (1, "")
    assert "refused by the rule 'signature': manifest.sig: missing" in unsigned.err
    call(tmp_path, "sign", "release", "--key", "release.key")
    subprocess.run(
        ["tar", "-cf", "release.tar", "-C", "release", *sorted(contents(release))], cwd=tmp_path, check=True
    )
    other = call(tmp_path, "keys", "other.key").out.strip()
    for bundle in ("release", "release.tar"):
        passed = call(tmp_path, "check", bundle, "--public-key", other, "--public-key", public_key)
        assert outcomes(passed.out)["signature"] == f"passed {key_id(public_key)}", passed.err
    foreign = call(tmp_path, "check", "release", "--public-key", other)
    assert foreign.code == 1
    assert f"expected a signature by one of {key_id(other)}, found {key_id(public_key)}" in foreign.err
