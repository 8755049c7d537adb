"""What the server answers instead of an action: an HTTP status and a text, always as {"error": text}."""

from sacpipe.bundle.guard_settings import Cause


class RefusalError(Exception):
    """The request is not as it should be. Every other refusal is one of these, with its own status."""

    status = 400

    def __init__(self, text: str, cause: Cause | None = None) -> None:
        super().__init__(text if cause is None else f"{cause}: {text}")
        self.cause = cause
        """The guard that said no, where one did."""


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


class ForeignError(RefusalError):
    """A web page of somebody else's asks, through a person's browser."""

    status = 403


class NotFoundError(RefusalError):
    """No such path, model or version."""

    status = 404


class MethodError(RefusalError):
    """The path is right and the method is not."""

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
    """The policy in service gave no action that may be executed: our fault, not the client's."""

    status = 500


class UnavailableError(RefusalError):
    """It cannot be answered now, or no longer in time."""

    status = 503
