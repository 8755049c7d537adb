"""episodes.csv: UTF-8, commas, one header line, Unix line ends, one row for each episode.

    policy,episode,seed,return,length,terminated,truncated

After these, two columns for each entry of `task.metrics`: NAME_mean over the steps, and NAME_last of the last
step. A number is the shortest text that reads back as the same float64; the flags are `true` or `false`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from sacpipe.core.errors import ContractError
from sacpipe.core.files import write_text
from sacpipe.evaluation.episodes import Episode

_COLUMNS = ("policy", "episode", "seed", "return", "length", "terminated", "truncated")
_MEAN, _LAST = "_mean", "_last"


def write_episodes_csv(path: Path, episodes: Mapping[str, Sequence[Episode]]) -> None:
    """Write every episode of every policy; the same episodes give the same bytes.

    Args:
        path: File to write.
        episodes: Episodes by policy, all of the same metrics.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = next((tuple(one.metrics) for rows in episodes.values() for one in rows), ())
    writer.writerow([*_COLUMNS, *(f"{name}{end}" for name in names for end in (_MEAN, _LAST))])
    for policy, rows in episodes.items():
        for number, one in enumerate(rows):
            flags = [str(flag).lower() for flag in (one.terminated, one.truncated)]
            metrics = [values[name] for name in names for values in (one.metrics, one.last_metrics)]
            numbers = [repr(float(value)) for value in (one.episode_return, *metrics)]
            writer.writerow([policy, number, one.seed, numbers[0], one.length, *flags, *numbers[1:]])
    write_text(path, text.getvalue())


def read_episodes_csv(path: Path) -> dict[str, tuple[Episode, ...]]:
    """Read the episodes of an episodes.csv, by policy.

    Raises:
        ContractError: the file is missing or has another format.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _parse_episodes(list(csv.reader(file)))
    except (OSError, ValueError) as exc:
        raise ContractError(f"{path} is not an episodes file: {exc}. Run the evaluate stage again.") from exc


def _parse_episodes(rows: Sequence[Sequence[str]]) -> dict[str, tuple[Episode, ...]]:
    """Parse the rows of a file.

    Raises:
        ValueError: the header or a row has another format.
    """
    header = tuple(rows[0]) if rows else ()
    names = [column.removesuffix(_MEAN) for column in header[len(_COLUMNS) :: 2]]
    if header != (*_COLUMNS, *(f"{name}{end}" for name in names for end in (_MEAN, _LAST))):
        raise ValueError(
            f"expected the columns {','.join(_COLUMNS)}, and NAME_mean,NAME_last of each metric, found "
            f"{','.join(header) or 'none'}"
        )
    found: dict[str, list[Episode]] = {}
    for row in rows[1:]:
        policy, _, seed, episode_return, length, terminated, truncated, *metrics = row
        flags = (_read_flag(terminated), _read_flag(truncated))
        means, lasts = (dict(zip(names, map(float, metrics[start::2]), strict=True)) for start in (0, 1))
        episode = Episode(int(seed), float(episode_return), int(length), *flags, means, lasts)
        found.setdefault(policy, []).append(episode)
    return {policy: tuple(episodes) for policy, episodes in found.items()}


def _read_flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"expected true or false, found {text!r}")
    return text == "true"
