"""How the command line ends: one message and an exit code for every error, foreseen or not."""

from types import SimpleNamespace

import pytest

from sacpipe.cli.main import COMMANDS, main
from sacpipe.core.errors import ConfigError, SimulatorError, StoreError


@pytest.fixture
def ending(monkeypatch, capsys, tmp_path):
    """Run a command that raises an error, in an empty folder; return exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def end(error):
        def run(_arguments):
            raise error

        command = SimpleNamespace(HELP="", EXAMPLE="", add_arguments=lambda _parser: None, run=run)
        monkeypatch.setitem(COMMANDS, "tasks", command)
        return main(["tasks"]), capsys.readouterr().err

    return end


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("bad"), 2, "sacpipe: bad\n"),
        (SimulatorError("lost"), 3, "sacpipe: lost\n"),
        (StoreError("down"), 3, "sacpipe: down\n"),
        (KeyboardInterrupt(), 3, "sacpipe: interrupted. Finished steps are kept.\n"),
    ],
)
def test_a_foreseen_error_is_its_message_and_code(ending, error, code, line):
    assert ending(error) == (code, line)


def test_a_missing_package_is_bad_input(ending):
    code, text = ending(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert (code, "needs the package 'torch'" in text) == (2, True)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a\x1b[2Jbug"), RecursionError("deep"), ModuleNotFoundError("gone", name="sacpipe.gone")],
    ids=lambda error: type(error).__name__,
)
def test_an_unforeseen_error_is_one_line_that_names_the_log(ending, tmp_path, error):
    (tmp_path / "versions.lock").write_text("{}")
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    (tmp_path / ".sacpipe").mkdir()
    code, text = ending(error)
    (log,) = (tmp_path / ".sacpipe").iterdir()
    assert code == 3
    assert text.count("\n") == 1
    assert text.startswith(
        f"sacpipe: `sacpipe tasks` ended by an error that was not foreseen: {type(error).__name__}"
    )
    assert str(log) in text
    assert "\x1b" not in text
    assert "Traceback" in log.read_text()
