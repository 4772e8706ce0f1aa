"""Errors that clients see, as JSON: `{"error": {"kind": ..., "message": ...}}`."""

from collections.abc import Mapping

from fastapi.responses import JSONResponse


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
      status: HTTP status.
      kind: a short name of the problem, for programs.
      message: what is wrong, and what to do, for people.
      headers: further headers of the answer.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.kind, self.headers = status, kind, dict(headers or {})

    def response(self) -> JSONResponse:
        """Returns the answer."""
        return JSONResponse({"error": {"kind": self.kind, "message": str(self)}}, self.status, self.headers)


def bad_request(kind: str, message: str) -> ApiError:
    """Returns the error of a request that is wrong."""
    return ApiError(400, kind, message)


def busy(message: str, retry_seconds: float) -> ApiError:
    """Returns the error of a request that came too early, with the time after which to try again."""
    seconds = max(1, round(retry_seconds + 0.5))
    return ApiError(429, "busy", f"{message}; try again in {seconds} s", {"Retry-After": str(seconds)})
