"""`sacpipe`, as commands of a page call it: what it writes into params.yaml becomes a run of seconds.

`python short_command.py WORD...` runs `sacpipe WORD...`, and adds the words to the file that RAN names.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML
from small_project import with_release, with_values

CAPS = {
    "total_steps": 200,
    "random_steps": 60,
    "batch_size": 32,
    "evaluation_interval_steps": 100,
    "evaluation_episodes": 1,
    "log_interval_steps": 50,
    "checkpoint_interval_steps": 100,
    "num_value_actions": 8,
    "num_particles": 8,
    "episodes": 2,
    "bootstrap_resamples": 100,
    "golden_steps": 8,
    "max_s": 0.2,
    "hidden_dims": [16, 16],
}
"""Largest values of numbers, and values of other keys."""


def shortened(text, **caps):
    """Return the text of a params.yaml with small values for the keys that it has; `caps` go before CAPS."""
    text = with_release(text)  # a policy of a few steps would be refused
    for key, cap in (CAPS | caps).items():
        if found := re.search(rf"(?m)^ *{key}: (.*?)(  #.*)?$", text):
            value = YAML(typ="safe").load(found[1])
            numbers = isinstance(cap, (int, float)) and isinstance(value, (int, float))
            text = with_values(text, **{key: min(value, cap) if numbers else cap})
    return text


def main(words):
    """Run the command, and return its exit code."""
    with Path(os.environ["RAN"]).open("a") as log:
        log.write(shlex.join(words) + "\n")
    code = subprocess.run([sys.executable, "-m", "sacpipe.cli.main", *words], check=False).returncode
    if code == 0 and words[0] == "params" and "--output" in words:
        path = Path(words[words.index("--output") + 1])
        path.write_text(shortened(path.read_text()))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
