"""Errors that clients see, as JSON: `{"error": {"kind": ..., "message": ...}}`, or as the interface at a path has
them."""

from collections.abc import Mapping
from typing import Any

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

    def response(self, path: str) -> JSONResponse:
        """Returns the answer to a request of this path, in the form of the path's interface."""
        return JSONResponse({"error": self._body(path)}, self.status, self.headers)

    def _body(self, path: str) -> str | dict[str, Any]:
        if path.startswith("/v1/models/"):  # TensorFlow Serving
            return str(self)
        if path.startswith("/v1/chat/"):  # OpenAI
            return {"message": str(self), "type": self._openai_type(), "param": None, "code": self.kind}
        return {"kind": self.kind, "message": str(self)}

    def _openai_type(self) -> str:
        by_status = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
                     429: "rate_limit_error"}  # fmt: skip
        return "server_error" if self.status >= 500 else by_status.get(self.status, "invalid_request_error")


def bad_request(kind: str, message: str) -> ApiError:
    """Returns the error of a request that is wrong."""
    return ApiError(400, kind, message)


def busy(message: str, retry_seconds: float) -> ApiError:
    """Returns the error of a request that came too early, with the time after which to try again."""
    seconds = max(1, round(retry_seconds + 0.5))
    return ApiError(429, "busy", f"{message}; try again in {seconds} s", {"Retry-After": str(seconds)})
