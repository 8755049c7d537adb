"""A canary says what moved and what to do."""

import pytest
from canary import canary


def test_a_missing_part_is_named_with_the_remedy():
    with (
        pytest.raises(
            pytest.fail.Exception, match=r"^torch\._gone changed: AttributeError: .*_gone.*\. Use a loop\.$"
        ),
        canary("torch._gone", "Use a loop."),
    ):
        _ = object()._gone
