"""What an algorithm or a sampler raises becomes one error with the member, the step and what to do."""

import pytest
from small_run import Onlooker, make_params, run_once

from sacpipe.algorithms.sac import SAC, SACConfig
from sacpipe.core.errors import ConfigError, ContractError, DivergenceError, MemberError, SacpipeError
from sacpipe.replay.samplers.base import SamplerConfig
from sacpipe.replay.samplers.uniform import Uniform
from sacpipe.training.checkpoint import intact_checkpoints
from sacpipe.training.resume import open_run

FAULTS = {}
"""What a call raises, by its name, once the learner has made 20 updates."""
CALLS = ("act", "observe", "update", "diagnostics", "describe_episodes", "state")


class Faulty(SAC):
    """Raises what FAULTS names."""

    def __getattribute__(self, name):
        if name in FAULTS and name != "update" and super().__getattribute__("gradient_steps") >= 20:
            raise FAULTS[name]
        return super().__getattribute__(name)

    def update(self, batch):
        if "update" in FAULTS and self.gradient_steps >= 20:
            raise FAULTS["update"]
        super().update(batch)


class FaultyConfig(SACConfig):
    """Builds it, or fails."""

    name: str

    def build(self, spec, seed):
        if "build" in FAULTS:
            raise FAULTS["build"]
        return Faulty(self, spec, seed)


class FaultySampler(SamplerConfig):
    """Draws as `uniform` until FAULTS names it."""

    def build(self, spec, discount):
        if "build sampler" in FAULTS:
            raise FAULTS["build sampler"]
        uniform = Uniform(spec, discount)

        def draw(view, generator, rows):
            if "sampler" in FAULTS and len(view) >= 40:
                raise FAULTS["sampler"]
            return uniform(view, generator, rows)

        return draw

    @classmethod
    def example(cls):
        return cls(name="faulty")


ALGORITHM, SAMPLER = f"{__name__}:FaultyConfig", f"{__name__}:FaultySampler"
AUTOGRAD = {"name": "autograd", "num_threads": 1}


@pytest.fixture
def fault(monkeypatch):
    """Let a call raise something: (call, error)."""
    return lambda call, error: monkeypatch.setitem(FAULTS, call, error)


def params():
    return make_params(algorithm__name=ALGORITHM, engine=AUTOGRAD, replay__sampler={"name": SAMPLER})


def newest_step(folder):
    return next(iter(intact_checkpoints(folder / "work" / "checkpoints", "k"))).state.env_steps


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_an_error_of_a_learner_names_the_algorithm_the_call_and_the_step(tmp_path, fault, call, kind):
    fault(call, kind("broken"))
    with pytest.raises(MemberError) as found:
        run_once(tmp_path, params())
    text = str(found.value)
    assert found.value.exit_code == 3
    assert text.startswith("step ")
    assert f"algorithm '{ALGORITHM}'" in text
    assert f"{call}() raised {kind.__name__}: broken (test_foreign_members.py, line" in text
    assert "Correct the member's code" in text
    assert newest_step(tmp_path) >= 30 or call == "state"


def test_an_error_of_a_sampler_names_the_sampler(tmp_path, fault):
    fault("sampler", IndexError("row 99"))
    with pytest.raises(
        MemberError, match=rf"^step 40: sampler '{SAMPLER}': its call raised IndexError: row 99"
    ):
        run_once(tmp_path, params())
    assert newest_step(tmp_path) == 30


@pytest.mark.parametrize("call", [*CALLS, "sampler"])
@pytest.mark.parametrize("error", [DivergenceError("a loss is nan"), ContractError("a wrong shape")], ids=str)
def test_errors_of_ours_pass(tmp_path, fault, call, error):
    fault(call, error)
    with pytest.raises(type(error), match=str(error)):
        run_once(tmp_path, params())


@pytest.mark.slow
def test_the_run_goes_on_from_its_checkpoint_once_the_member_is_repaired(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setitem(FAULTS, "update", RuntimeError("out of memory"))
        with pytest.raises(MemberError):
            run_once(tmp_path, params())
    onlooker = Onlooker()
    assert run_once(tmp_path, params(), onlooker).env_steps == 150
    assert onlooker.steps[0] > 30


def test_a_description_that_is_no_number_is_an_error_of_the_learner(tmp_path, monkeypatch):
    monkeypatch.setattr(Faulty, "diagnostics", lambda _: {"loss": "large"})
    with pytest.raises(MemberError, match=r"diagnostics\(\) raised ValueError: could not convert"):
        run_once(tmp_path, params())


@pytest.mark.parametrize(
    ("call", "section", "name"),
    [("build", "algorithm", ALGORITHM), ("build sampler", "replay.sampler", SAMPLER)],
)
@pytest.mark.parametrize("kind", [TypeError, SystemExit])
def test_an_error_of_build_names_the_section(tmp_path, fault, call, section, name, kind):
    fault(call, kind("no such table"))
    with pytest.raises(
        ConfigError,
        match=rf"^params\.yaml: {section}: '{name}' raised {kind.__name__}: no such table \(test_",
    ):
        open_run(params(), tmp_path, "k")
    assert not list(tmp_path.iterdir())


def test_a_section_that_a_message_names_already_is_named_once(tmp_path, fault):
    fault("build sampler", ConfigError("replay.sampler: expected terms of both goals, found none."))
    with pytest.raises(ConfigError) as found:
        open_run(params(), tmp_path, "k")
    assert str(found.value) == "params.yaml: replay.sampler: expected terms of both goals, found none."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm__normalise_observations": ["speed"]}, "algorithm.normalise_observations: expected float32"),
        ({"algorithm__network": {"name": "conv", "channels": [2], "hidden_dims": [8]}}, "algorithm.network.name: 'conv'"),
        ({"task__options": {"image_size": 8}}, "algorithm.network.name: 'mlp' takes no images"),
        ({"engine": {"name": "torch", "num_threads": 1, "matmul_precision": "float32"},
          "algorithm__network": {"name": "conv", "channels": [2], "hidden_dims": [8]}, "task__options": {"image_size": 8}}, "engine.name: 'torch' can train"),
    ],
    ids=["normaliser", "conv", "mlp", "torch"],
)  # fmt: skip
def test_a_message_of_build_begins_with_the_file_once(tmp_path, changes, message):
    with pytest.raises(SacpipeError) as found:
        open_run(make_params(**changes), tmp_path, "k")
    assert str(found.value).startswith(f"params.yaml: {message}")
    assert str(found.value).count("params.yaml: ") == 1


class Exploring(SAC):
    """Its training actions are not those of `act`."""

    native = SAC.native

    def explore(self, observation, generator):
        return -self.act(observation, generator)

    def end_episode(self):
        pass


class ExploringConfig(SACConfig):
    name: str

    def build(self, spec, seed):
        return Exploring(self, spec, seed)


def test_an_engine_that_would_lose_the_exploration_is_refused(tmp_path):
    algorithm = make_params().algorithm.as_tree() | {"name": "test_foreign_members:ExploringConfig"}
    native, autograd = {"name": "native", "precision": "float32"}, {"name": "autograd", "num_threads": 1}
    with pytest.raises(ConfigError, match=r"engine\.name: the engine 'native' has no `explore`"):
        open_run(make_params(algorithm=algorithm, engine=native), tmp_path / "native", "k")
    open_run(make_params(algorithm=algorithm, engine=autograd), tmp_path / "autograd", "k").close()
