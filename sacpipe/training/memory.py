"""The memory that a run's transitions will take, compared with what this machine or container has left."""

from collections.abc import Iterator
from pathlib import Path

from sacpipe.core.errors import ConfigError
from sacpipe.replay.pool.transitions import record_dtype
from sacpipe.replay.view import batch_row_bytes, transition_bytes
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.config import TrainParams

_GIB = 2**30
_ROOT = Path("/")
_WAITING_BYTES = 500
"""Bytes of a transition that waits for the pool, beside its numbers; see replay/pool/episode_order.py."""
_CGROUPS = (  # folder below /sys/fs/cgroup, limit, use, and the cache in the use that can be freed
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of control groups, version 2 and version 1."""


def check_memory(
    params: TrainParams, spec: EnvSpec, *, earlier_transitions: int = 0, root: Path = _ROOT
) -> None:
    """Refuse transitions that do not fit into memory: the system would kill the run when they have filled it.

    Args:
        params: `replay.capacity`, `replay.segment_transitions` and `training.batch_size` count.
        spec: Of the task.
        earlier_transitions: Length of the initial pool; 0 for none.
        root: Folder that holds proc/ and sys/.

    Raises:
        ConfigError: they do not fit; the message has both figures.
    """
    row, replay = transition_bytes(spec), params.replay
    limit, others = spec.max_episode_steps or 0, params.training.num_environments - 1
    capacity, earlier = buffer_capacity(params), min(replay.capacity, earlier_transitions)
    copies = 2 + getattr(replay.sampler, "batch_copies", 0)  # gathered, mixed, and the sampler's own
    transitions = {
        "training.num_environments": others * limit * (row + _WAITING_BYTES),
        "replay.capacity": (capacity + earlier) * row + _sampler_bytes(params, capacity, earlier),
        "replay.segment_transitions": replay.segment_transitions * record_dtype(spec).itemsize,
        "training.batch_size": copies * params.training.batch_size * batch_row_bytes(spec),
    }
    needed, available = sum(transitions.values()), available_bytes(root)
    if available is not None and needed > available:
        largest = max(transitions, key=transitions.__getitem__)
        raise ConfigError(
            f"params.yaml: {largest}: expected transitions that fit into the {available / _GIB:.3g} GiB of "
            f"memory available here, found {needed / _GIB:.3g} GiB of {spec.task}, {row} bytes each in the "
            f"buffer, {_costliest(spec)}. Lower {largest}, or free memory."
        )


def _sampler_bytes(params: TrainParams, *capacities: int) -> int:
    """Return the memory of the samplers of buffers; a config of one's own need not say what it takes."""
    find = getattr(params.replay.sampler, "buffer_bytes", None)
    return 0 if find is None else sum(find(capacity) for capacity in capacities if capacity)


def _costliest(spec: EnvSpec) -> str:
    """Say which term takes most of a transition in the buffer, where an image is stored once."""
    sizes = {term.name: term.size * (1 if term.dtype == "uint8" else 8) for term in spec.observation}
    name = max(sizes, key=sizes.__getitem__)
    return f"{sizes[name]} of them for the term '{name}'"


def buffer_capacity(params: TrainParams) -> int:
    """Return the number of rows that the run's buffer ever fills, equally many for each environment."""
    count = params.training.num_environments
    return max(count, min(params.replay.capacity, params.training.total_steps) // count * count)


def available_bytes(root: Path = _ROOT) -> int | None:
    """Return the memory that new data can take: of the machine, or of a control group that has less.

    None where the system tells neither.
    """
    return min((*_of_machine(root), *_of_groups(root)), default=None)


def _of_machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc" / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what is left in each control group around this process."""
    lines = [line.split(":", 2) for line in _lines(root / "proc" / "self" / "cgroup")]
    own = [Path(parts[2].strip("/")) for parts in lines if len(parts) > 2]
    groups = {group for name in own for group in (name, *name.parents)} | {Path()}
    for folder, limit, use, cache in _CGROUPS:
        for group in groups:
            here = root / "sys" / "fs" / "cgroup" / folder / group
            limits, uses = _lines(here / limit), _lines(here / use)
            if limits and uses and limits[0].isdigit() and uses[0].isdigit():
                counts = dict(line.partition(" ")[::2] for line in _lines(here / "memory.stat"))
                yield max(0, int(limits[0]) - int(uses[0]) + int(counts.get(cache, "0")))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
