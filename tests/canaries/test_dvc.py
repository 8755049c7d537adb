"""DVC's messages, which sacpipe/project/dvc/messages.py turns into errors; its Python is no public interface."""

import inspect

from canary import canary

from sacpipe.project.dvc import messages

ADVICE = "sacpipe/project/dvc/messages.py: write the new text"


def test_the_message_of_a_failed_command():
    from dvc.stage.exceptions import StageCmdFailedError

    with canary("dvc StageCmdFailedError", ADVICE):
        assert messages._EXITED.search(str(StageCmdFailedError("python -m stage", 3)))[1] == "3"


def test_the_messages_of_stages():
    from dvc.stage import cache, run

    with canary("dvc.stage messages", ADVICE):
        assert "\"Running stage '%s':\"" in inspect.getsource(run), "expected `Running stage 'NAME':`"
        assert "\"Stage '%s' is cached" in inspect.getsource(cache), "expected `Stage 'NAME' is cached`"


def test_the_message_of_missing_params():
    from dvc.dependency.param import MissingParamsError, ParamsDependency
    from dvc.utils.serialize import ParseError

    with canary("dvc MissingParamsError", ADVICE):
        assert issubclass(MissingParamsError, Exception)
        assert "Parameters '{}' are missing from '{}'." in inspect.getsource(ParamsDependency)
        assert messages._WRONG_PARAMS.search(str(ParseError("params.yaml", "no YAML")))
