"""A wrong word names the nearest, and shells complete commands and options."""

import subprocess
import sys

import pytest

from sacpipe.cli.main import main
from sacpipe.cli.parser import SHELLS


def exited(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["lineag"], "Did you mean lineage?"),
        (["ledger", "rebuidl"], "Did you mean rebuild?"),
        (["xyz"], None),
    ],
)
def test_a_wrong_choice_names_the_nearest(capsys, arguments, nearest):
    assert exited(arguments) == 2
    seen = capsys.readouterr().err
    assert "invalid choice" in seen
    assert (nearest in seen) if nearest else ("Did you mean" not in seen)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_gets_the_commands_and_their_options(capsys, shell):
    assert exited(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("sacpipe", "lineage", "rebuild", "public-key"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [("sacpipe lin", "lineage"), ("sacpipe run --eng", "--engine"), ("sacpipe ledger re", "rebuild")],
)
def test_bash_completes_a_line(capsys, tmp_path, line, expected):
    exited(["--print-completion", "bash"])
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    words = line.split()
    script = (
        f"source completion; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)};"
        f"$(complete -p sacpipe | sed 's/.*-F \\([^ ]*\\).*/\\1/') sacpipe {words[-1]} {words[-2]}; echo ${{COMPREPLY[@]}}"
    )
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [expected]


def test_the_robots_install_names_the_package_that_it_lacks(tmp_path):
    (tmp_path / "shtab.py").write_text("raise ModuleNotFoundError")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from sacpipe.cli.main import main; main(['--print-completion', 'zsh'])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "needs the package 'shtab'. `pip install shtab` installs it" in result.stderr
