"""The page at `/`, and its scripts and stylesheet under `/page/`."""

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response

from capjax import pages

_PAGE = Path(__file__).resolve().parent / "page"
_STYLESHEET = Path(pages.__file__).resolve().parent / "static" / "page.css"
_MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
_HEADERS = {
    # Media are shown from the browser's memory (blob:), and maps of words from the server's answers (data:).
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def make_router() -> APIRouter:
    """Returns the routes. All addresses in the page are relative, so that it works under any root path."""
    router = APIRouter()
    files = {f"page/{path.name}": path for path in (*sorted(_PAGE.glob("*.js")), _STYLESHEET)}
    for name, path in {"": _PAGE / "index.html", **files}.items():
        router.add_api_route(f"/{name}", _answer(path), include_in_schema=False)
    return router


def _answer(path: Path):
    """The endpoint of a file."""
    content = path.read_bytes()
    media_type = f"{_MEDIA_TYPES[path.suffix]}; charset=utf-8"
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return answer
