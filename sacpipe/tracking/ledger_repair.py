"""The ledger in .sacpipe/ can be disposed of, whatever state it is in. An operator's own server never is."""

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.core.sqlite_file import move_aside
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.mlflow.check import check_in_child


def put_unusable_ledger_aside(workspace: Workspace) -> str | None:
    """Move a ledger that cannot be used aside, so that an empty one takes its place; return a line about it.

    Only the project's own database is moved, and nothing is deleted.

    Returns:
        What was moved and why; None where the ledger can be used.

    Raises:
        StoreUnavailableError: MLflow does not answer, or the database is locked: both may pass.
        StoreError: the ledger cannot be used, and is not the project's own; or its folder cannot be used.
    """
    uri = workspace.tracking_uri()
    try:
        check_in_child(uri, workspace.artifacts)
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        is_own = uri == workspace.tracking_uri({})
        if not is_own or not workspace.mlflow_db.exists():
            raise
        aside = move_aside(workspace.mlflow_db)
        return f"the ledger could not be used: {exc} It is {aside} now, and a new one is written."
    return None
