"""What task suites share: names, and the refusal of an endless task."""

import factories
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.envs.base import nearest, require_time_limit


def test_nearest_names_come_in_their_own_case():
    assert nearest("ANT-V5", ["Ant-v5", "Walker2d-v5"]) == ["Ant-v5"]
    assert nearest("xyz", ["Ant-v5"]) == []


def test_a_task_without_a_time_limit_is_refused():
    require_time_limit(factories.make_spec())
    with pytest.raises(ConfigError, match=r"'example/Reach-v0': expected a time limit, found none"):
        require_time_limit(factories.make_spec(max_episode_steps=None))
