"""The page, in a browser: its own script runs under its policy, and shows what the server says."""

import json
import shutil
import subprocess

from served import running

from sacpipe.core.bundle import bundle_digest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def test_the_page_is_live(bundles, tmp_path):
    assert BROWSER is not None, "this test needs a browser: install chromium"
    tensor = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}
    with running("-m", "sacpipe.serving", bundles[0], "--port", "0") as server:
        for parameters in ({"sequence_id": "left arm", "sequence_start": True}, {}):
            assert server.infer({"inputs": [tensor], "parameters": parameters})[0] == 200
        assert server.infer(json.dumps({"inputs": [], "id": "<b>bold</b>"}).encode())[0] == 400
        assert server.infer({"inputs": [tensor | {"name": "<b>bold</b>"}]})[0] == 400
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
    assert '<b class="ok">2</b>' in shown
    assert '<b class="refused">2</b>' in shown
    assert ">left arm</td>" in shown
    assert "&lt;b&gt;bold" in shown  # told, not obeyed
    assert "Content Security Policy" not in result.stderr
