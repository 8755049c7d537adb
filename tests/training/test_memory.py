"""Transitions beyond the memory of the machine or of its control group are refused, with both figures."""

import pytest
from factories import make_spec
from pool_fixtures import CAMERA, with_camera

from sacpipe.core.errors import ConfigError
from sacpipe.replay.pool.transitions import record_dtype
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.memory import available_bytes, buffer_capacity, check_memory

SPEC = make_spec(4, [(-1.0, 1.0), (-0.5, 0.5)])
ROW = 4 * (2 * 4 + 2 + 1 + 1 + 1)
"""Two vectors, action, reward, steps to the end of the episode, two flags in four bytes."""
GIB = 2**30


def machine(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n"}
V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MEMINFO, 8 * GIB),
        (MEMINFO | {f"{V2}/memory.max": "max\n", f"{V2}/memory.current": "5\n"}, 8 * GIB),
        (MEMINFO | {f"{V2}/memory.max": f"{4 * GIB}", f"{V2}/memory.current": f"{GIB}\n"}, 3 * GIB),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/user/run\n",
                f"{V2}/user/memory.max": f"{4 * GIB}\n",  # the limit of a group above counts too
                f"{V2}/user/memory.current": f"{3 * GIB}\n",
                f"{V2}/user/memory.stat": f"anon 7\ninactive_file {GIB}\n",
                f"{V2}/user/run/memory.max": "max\n",
                f"{V2}/user/run/memory.current": "9\n",
            },
            2 * GIB,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "5:devices:/\n4:memory:/docker/ab\n0::/\n",
                f"{V1}/docker/ab/memory.limit_in_bytes": f"{GIB}\n",
                f"{V1}/docker/ab/memory.usage_in_bytes": f"{2 * GIB}\n",
            },
            0,
        ),
        (
            MEMINFO
            | {f"{V1}/memory.limit_in_bytes": f"{2**63 - 4096}\n", f"{V1}/memory.usage_in_bytes": "1\n"},
            8 * GIB,
        ),
        ({"proc/meminfo": "nonsense\n", "proc/self/cgroup": "::\nx\n"}, None),
    ],
)
def test_what_is_available_is_the_least_of_machine_and_groups(tmp_path, files, expected):
    assert available_bytes(machine(tmp_path, files)) == expected


def test_this_machine_has_some():
    found = available_bytes()
    assert found is None or found > 0


@pytest.fixture
def sized(small_train_params):
    """Params of a run with a capacity, steps and lengths of segment and batch."""

    def make(capacity, steps, segment=1, batch=1):
        tree = small_train_params.as_tree()
        tree["replay"] |= {"capacity": capacity, "segment_transitions": segment}
        tree["training"] |= {"total_steps": steps, "batch_size": batch}
        return type(small_train_params).parse(tree)

    return make


@pytest.mark.parametrize(
    ("sizes", "key"),
    [
        ({"capacity": 10**9, "steps": 10**9}, "replay.capacity"),
        ({"capacity": 10**9, "steps": 100, "segment": 10**9}, "replay.segment_transitions"),
        ({"capacity": 1, "steps": 100, "batch": 10**9}, "training.batch_size"),
    ],
)
def test_more_than_is_available_is_refused_with_both_figures(tmp_path, sized, sizes, key):
    root = machine(tmp_path / "machine", MEMINFO)
    with pytest.raises(
        ConfigError, match=rf"{key}: .* fit into the 8 GiB of memory .* found \d+\.?\d* GiB"
    ) as refusal:
        check_memory(sized(**sizes), SPEC, root=root)
    found = f"{ROW} bytes each in the buffer, 32 of them for the term 'state'. Lower {key}"
    assert found in str(refusal.value)


def test_the_term_that_takes_most_is_named(tmp_path, sized):
    params = sized(capacity=10**9, steps=10**9)
    with pytest.raises(ConfigError, match=r"74 bytes each in the buffer, 32 of them for the term 'state'"):
        check_memory(params, with_camera(SPEC), root=machine(tmp_path / "machine", MEMINFO))
    camera = CAMERA | {"shape": (64, 64, 3)}
    spec = EnvSpec.parse(SPEC.as_tree() | {"observation": [*SPEC.as_tree()["observation"], camera]})
    with pytest.raises(ConfigError, match=r"12288 of them for the term 'camera'"):
        check_memory(params, spec, root=machine(tmp_path / "machine", MEMINFO))


def test_only_rows_that_are_ever_filled_count(tmp_path, sized):
    params = sized(capacity=10**12, steps=1000)
    assert buffer_capacity(params) == 1000
    check_memory(params, SPEC, root=machine(tmp_path / "machine", MEMINFO))


def test_earlier_experience_counts(tmp_path, sized):
    root = machine(tmp_path / "machine", MEMINFO)
    params = sized(capacity=10**9, steps=1000)
    fitting = 8 * GIB // ROW - 1100
    check_memory(params, SPEC, earlier_transitions=fitting, root=root)
    with pytest.raises(ConfigError, match=r"replay\.capacity"):
        check_memory(params, SPEC, earlier_transitions=fitting + 200, root=root)


PRIORITISED = {"name": "prioritised", "alpha": 0.6, "beta": 0.4, "beta_steps": None, "epsilon": 1e-6}
HINDSIGHT = {"name": "hindsight", "strategy": "future", "relabelled_share": 0.8}


@pytest.mark.parametrize(
    ("sampler", "sizes", "earlier", "more"),
    [
        # A tree of two float64 for each place of the next power of two, and copies in a checkpoint.
        (PRIORITISED, {"capacity": 2**20, "steps": 2**20}, 0, 32 * 2**20),
        (PRIORITISED, {"capacity": 2**20 + 2, "steps": 2**20 + 2}, 0, 48 * 2**20 + 32),
        (PRIORITISED, {"capacity": 2**20, "steps": 2**20}, 2**19, 48 * 2**20),
        # Goals, and the rows before and after the step that get them.
        (HINDSIGHT, {"capacity": 1, "steps": 100, "batch": 2**20}, 0, 2 * ROW * 2**20),
    ],
)
def test_what_a_sampler_keeps_counts(tmp_path, sized, sampler, sizes, earlier, more):
    plain = sized(**sizes)
    tree = plain.as_tree()
    tree["replay"] |= {"sampler": sampler}
    kept = type(plain).parse(tree)
    rows, batch = buffer_capacity(plain) + earlier, sizes.get("batch", 1)
    needed = rows * ROW + record_dtype(SPEC).itemsize + 2 * batch * ROW
    for params, bytes_needed in ((plain, needed), (kept, needed + more)):
        for kib, fits in ((-(-bytes_needed // 1024), True), (bytes_needed // 1024 - 1, False)):
            files = {"proc/meminfo": f"MemAvailable: {kib} kB\n"}
            root = machine(tmp_path, files)
            if fits:
                check_memory(params, SPEC, earlier_transitions=earlier, root=root)
                continue
            with pytest.raises(ConfigError, match=r"Lower (replay\.capacity|training\.batch_size), or free"):
                check_memory(params, SPEC, earlier_transitions=earlier, root=root)


def test_where_the_system_tells_nothing_all_pass(tmp_path, sized):
    check_memory(sized(capacity=10**12, steps=10**12), SPEC, root=tmp_path)
