"""The page, in a browser: its own script runs under its policy, and shows what the server says."""

import json
import shutil
import subprocess

import pytest
from served import running

from sacpipe.bundle.files import bundle_digest
from sacpipe.rollout.bundle_store import BundleStore

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def name(bundle, named):
    """Let the source name another bundle, in one step."""
    named.with_name("next").symlink_to(bundle)
    named.with_name("next").replace(named)


def wait_for(server, is_so):
    """Ask until the way of a new bundle is so."""
    while not is_so(server.get("/status.json")[1]["follower"]):
        pass


@pytest.mark.slow
def test_the_page_is_live(bundles, tmp_path):
    assert BROWSER is not None, "this test needs a browser: install chromium"
    tensor = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}
    name(bundles[0], tmp_path / "named")
    (tmp_path / "terms.yaml").write_text("poll_s: 0.05\nrollout: {min_shadow_steps: 1000}\n")
    with BundleStore(tmp_path / "store") as store:
        store.mark_bad("ab" * 32, "it crashed")
    follow = ("--follow", "--store", tmp_path / "store", "--terms", tmp_path / "terms.yaml")
    with running("-m", "sacpipe.server", tmp_path / "named", "--port", "0", *follow) as server:
        for parameters in ({"sequence_id": "left arm", "sequence_start": True}, {}):
            assert server.infer({"inputs": [tensor], "parameters": parameters})[0] == 200
        assert server.infer(json.dumps({"inputs": [], "id": "<b>bold</b>"}).encode())[0] == 400
        assert server.infer({"inputs": [tensor | {"name": "<b>bold</b>"}]})[0] == 400
        name(bundles[1], tmp_path / "named")
        wait_for(server, lambda state: state["phase"] == "shadow")
        assert server.infer({"inputs": [tensor]})[0] == 200
        wait_for(server, lambda state: state["divergence"]["steps"] == 1)
        metrics = server.ask("GET", "/metrics")[2].decode()
        result = subprocess.run(
            [
                *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"),
                *("--virtual-time-budget=3000", "--dump-dom", f"http://{server.address}/"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    shown = result.stdout
    assert '<span class="state live" id="state" role="status">live</span>' in shown
    assert f'id="digest">{bundle_digest(bundles[0])}<' in shown
    assert '<b class="ok">3</b>' in shown
    assert '<b class="refused">2</b>' in shown
    assert ">left arm</td>" in shown
    assert "&lt;b&gt;bold" in shown  # shown as text, not as markup
    assert "Content Security Policy" not in result.stderr
    candidate = bundle_digest(bundles[1])[:12]
    for term, value in (
        ("phase", "shadow"),
        ("candidate", candidate),
        ("the source answers", "yes"),
        ("bundles marked bad", "1"),
        ("compared with", candidate),
        ("steps", "1 (0 dropped, 0 refused)"),
        ("largest", "0.625, elbow"),  # 2.5 and -2.5 of a range of 8
    ):
        assert f'>{term}</dt><dd class="number">{value}</dd>' in shown
    assert (
        f'>noticed</td><td class="number">{candidate}</td><td class="why">{tmp_path / "named"}</td>' in shown
    )
    for line in (
        'sacpipe_follow_phase{phase="shadow"} 1',
        'sacpipe_follow_events_total{kind="noticed"} 1',
        'sacpipe_divergence{of="largest"} 0.625',
        "sacpipe_store_bad_bundles 1",
    ):
        assert f"{line}\n" in metrics
