"""Refusals of the server: each has an HTTP status and a text, which the client gets as {"error": text}."""


class RefusalError(Exception):
    """The request is refused.

    Args:
        text: What was expected and what was found.
        cause: Name of the guard that refused; None where no guard did.
        status: HTTP status; None for that of the class.
        headers: Further headers of the answer.
    """

    status = 400

    def __init__(
        self,
        text: str,
        cause: str | None = None,
        *,
        status: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(text if cause is None else f"{cause}: {text}")
        self.cause, self.headers = cause, headers
        self.status = self.status if status is None else status


class NotFoundError(RefusalError):
    """No such path, model or version."""

    status = 404


class FaultError(RefusalError):
    """The active policy gave no action that may be executed. The client is not at fault."""

    status = 500


class UnavailableError(RefusalError):
    """The request cannot be answered now, or its time-out has passed."""

    status = 503
