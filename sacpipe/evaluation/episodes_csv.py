"""episodes.csv: UTF-8, commas, one header line, Unix line ends, one row for each episode.

    policy,episode,seed,return,length,terminated,truncated

`return` is the shortest text that reads back as the same float64; the flags are `true` or `false`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from sacpipe.core.errors import ContractError
from sacpipe.core.files import write_text
from sacpipe.evaluation.episodes import Episode

_COLUMNS = ("policy", "episode", "seed", "return", "length", "terminated", "truncated")


def write_episodes_csv(path: Path, episodes: Mapping[str, Sequence[Episode]]) -> None:
    """Write every episode of every policy; the same episodes give the same bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for policy, rows in episodes.items():
        for number, one in enumerate(rows):
            flags = [str(flag).lower() for flag in (one.terminated, one.truncated)]
            writer.writerow([policy, number, one.seed, repr(float(one.episode_return)), one.length, *flags])
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
    if header != _COLUMNS:
        raise ValueError(f"expected the columns {','.join(_COLUMNS)}, found {','.join(header) or 'none'}")
    found: dict[str, list[Episode]] = {}
    for policy, _, seed, episode_return, length, terminated, truncated in rows[1:]:
        flags = (_read_flag(terminated), _read_flag(truncated))
        episode = Episode(int(seed), float(episode_return), int(length), *flags)
        found.setdefault(policy, []).append(episode)
    return {policy: tuple(episodes) for policy, episodes in found.items()}


def _read_flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"expected true or false, found {text!r}")
    return text == "true"
