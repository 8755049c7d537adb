"""Refusals of the server: each has an HTTP status and a text, which the client gets as {"error": text}."""


class RefusalError(Exception):
    """The request is malformed. The other refusals are subclasses with their own status."""

    status = 400

    def __init__(self, text: str, cause: str | None = None) -> None:
        super().__init__(text if cause is None else f"{cause}: {text}")
        self.cause = cause
        """Name of the guard that refused; None where no guard did."""


class HeaderError(RefusalError):
    """What was sent is no HTTP request, or one that could be understood in two ways."""


class HeaderTooLargeError(RefusalError):
    """The request line and the headers are longer than allowed."""

    status = 431


class RequestTimeoutError(RefusalError):
    """The request did not arrive in time."""

    status = 408


class RateError(RefusalError):
    """An address sends more requests without the token than allowed."""

    status = 429


class UnauthorisedError(RefusalError):
    """The token is missing or wrong."""

    status = 401


class ForbiddenError(RefusalError):
    """The request is of another site's web page, or its Host is not this machine's."""

    status = 403


class NotFoundError(RefusalError):
    """No such path, model or version."""

    status = 404


class MethodError(RefusalError):
    """The path exists, but not with this method."""

    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"method: expected {allowed}, found {method}")
        self.allowed = allowed


class TooLargeError(RefusalError):
    """The body is longer than allowed."""

    status = 413


class MediaTypeError(RefusalError):
    """The body is compressed."""

    status = 415


class FaultError(RefusalError):
    """The active policy gave no action that may be executed. The client is not at fault."""

    status = 500


class UnavailableError(RefusalError):
    """The request cannot be answered now, or its time-out has passed."""

    status = 503
