"""The history of promotions keeps its order and skips a line that a crash cut short."""

from pathlib import Path

import pytest

from sacpipe.core.errors import StoreError
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.promotion_history import (
    Promotion,
    append_promotion,
    current_promotion,
    read_promotions,
)


def promotion(version: int) -> Promotion:
    return Promotion(
        format_version=1,
        time="2026-01-01T00:00:00Z",
        action="rollback",
        model="Reach-v0",
        alias="champion",
        version=version,
        bundle_digest=str(version) * 64,
        previous_bundle_digest=None,
        commit=None,
        entries={"train": {"cmd": "x", "outs": [{"path": "é"}]}},
        verdict=None,
    )


def test_promotions_are_kept_in_order_and_a_torn_line_is_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_promotions(workspace) == []
    append_promotion(workspace, promotion(1))
    with workspace.promotions.open("a") as file:
        file.write('{"format_version": 1, "time": "20')  # the power went
    assert read_promotions(workspace) == [promotion(1)]
    append_promotion(workspace, promotion(2))
    found = read_promotions(workspace)
    assert found == [promotion(1), promotion(2)]
    assert current_promotion(found, "Reach-v0", "champion") == promotion(2)
    assert current_promotion(found, "Reach-v0", "challenger") is None
    with workspace.promotions.open("a") as file:
        file.write('{"format_version": 2}\n')
    with pytest.raises(StoreError, match="line 4: expected a promotion of format 1"):
        read_promotions(workspace)
