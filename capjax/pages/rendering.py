"""Renders the Jinja2 templates of `capjax/pages/templates`, each of which extends `base.html`.

Values are escaped. The page's content security policy lets it load nothing but data URIs, and run no script but those
of `capjax/pages/static` that the page was rendered with. Values for a script go into the page with Jinja2's filter
`tojson`, which escapes `<`, `>`, `&` and `'`:

    <script type="application/json" id="maps">{{ maps | tojson }}</script>
"""

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2

_FOLDER = Path(__file__).resolve().parent
# The first bytes of the picture formats that all browsers show; WebP's name follows after a size of four bytes.
_PICTURES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif", b"RIFF": "webp"}


def render(template: str, *, scripts: Sequence[str] = (), **values: object) -> str:
    """Returns an HTML page.

    Args:
      template: name of a file in `templates`.
      scripts: names of files in `static` that the page runs, in their order; `tables.js` sorts tables of the class
        `sortable`.
      values: what the template shows.
    """
    texts = [(_FOLDER / "static" / name).read_text(encoding="utf-8") for name in scripts]
    page = _environment().get_template(template)
    return page.render(style=_style(), scripts=texts, policy=_policy(texts), **values)


def data_uri(picture: bytes) -> str:
    """Returns the bytes of a picture file as a URI for the attribute `src`.

    Raises:
      ValueError: the file is not JPEG, PNG, GIF or WebP.
    """
    kind = next((kind for start, kind in _PICTURES.items() if picture.startswith(start)), None)
    if kind is None or (kind == "webp" and picture[8:12] != b"WEBP"):
        raise ValueError(f"a picture begins with {picture[:12]!r}; pages show JPEG, PNG, GIF and WebP")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["data_uri"] = data_uri
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and keys in their order
    return environment


@functools.cache
def _style() -> str:
    return (_FOLDER / "static" / "page.css").read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """The content security policy of a page with these scripts."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
