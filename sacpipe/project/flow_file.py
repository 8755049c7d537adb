"""Load a project's `pipelines/flow.py` by its path. The flow belongs to the project, not to the library."""

import importlib.util
import sys
from types import ModuleType

from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.project.workspace import Workspace

_MODULE_NAME = "sacpipe_project_flow"
_ENTRY = "run_pipeline"


def load_flow(workspace: Workspace) -> ModuleType:
    """Import the project's flow. Call `Workspace.enter` before, so that it finds the project's modules.

    Raises:
        ConfigError: the file is missing, cannot be imported, or has no function `run_pipeline`.
    """
    path = workspace.flow
    if not path.is_file():
        raise ConfigError(f"{path} is missing: it holds the steps of a run. Restore it with `git checkout`.")
    spec = importlib.util.spec_from_file_location(_MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be loaded as a Python file. Restore it with `git checkout`.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE_NAME] = module  # Prefect looks a flow's module up by its name
    try:
        spec.loader.exec_module(module)
    except SacpipeError:
        raise
    except Exception as exc:
        raise ConfigError(f"{path} cannot be imported: {type(exc).__name__}: {exc}.") from exc
    if not callable(getattr(module, _ENTRY, None)):
        raise ConfigError(f"{path}: expected a function `{_ENTRY}(workspace, *, engine)`, found none.")
    return module
