"""Photos and options of a request, in each form that clients may send: multipart, a raw body, or JSON."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from capjax.serve.errors import ApiError, bad_request
from capjax.serve.served_model import DecodeChoice, ServedModel
from capjax.serve.settings import ServeSettings

_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII)


class CaptionOptions(BaseModel):
    """Options of a request, in its query, its form or its JSON."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=200, description="Name of the model; default: the first.")
    lang: str | None = Field(
        None, max_length=40, description="Language of the captions, BCP-47; default: the model's first."
    )
    num_beams: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        alias="beams",
        description="Hypotheses of the beam search, among those that the server has compiled; 1: greedy.",
    )
    num_captions: int = Field(
        1, alias="n", ge=1, le=1000, description="Captions per photo, the best first; at most the number of beams."
    )
    max_len: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Largest number of tokens, among those that the server has compiled."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of a model that samples.")

    def choose(self, model: ServedModel) -> DecodeChoice:
        """Returns the decoding options; raises ApiError as `ServedModel.choose`."""
        return model.choose(
            lang=self.lang, num_beams=self.num_beams, max_len=self.max_len, seed=self.seed,
            num_captions=self.num_captions,
        )  # fmt: skip


Options = TypeVar("Options", bound=CaptionOptions)


@dataclass(frozen=True)
class Photo:
    """A file of a request, or the reason why its content is not one."""

    data: bytes
    problem: str = ""


async def read_photos(request: Request, query: Options, settings: ServeSettings) -> tuple[list[Photo], Options]:
    """Returns the photos of a request in order, and its options.

    Args:
      query: the options in the query of the request.

    Raises:
      ApiError: the body has another form, no photo or too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        photos, fields = await _form(request, settings)
    elif kind == "application/json":
        photos, fields = await _json(request)
    elif kind.startswith(("image/", "video/")) or kind in ("", "application/octet-stream"):
        body = await request.body()
        photos, fields = [Photo(body)] if body else [], {}
    else:
        raise ApiError(
            415, "unsupported_media_type", f"{kind:.100}: send multipart/form-data, image/*, or application/json"
        )
    if not photos:
        raise bad_request("no_file", "the request has no file; send multipart files named `file`, an image, or JSON")
    if len(photos) > settings.max_files:
        raise bad_request("too_many_files", f"{len(photos)} files; at most {settings.max_files} in a request")
    try:
        options = type(query).model_validate({**query.model_dump(by_alias=True, exclude_unset=True), **fields})
    except ValidationError as error:
        raise validation_error(error.errors()) from error
    return photos, options


def validation_error(errors: Any) -> ApiError:
    """Returns the error of options that are not as described."""
    messages = []
    for each in list(errors)[:5]:
        place = ".".join(str(part) for part in each["loc"] if part not in ("query", "body"))
        messages.append(f"{place}: {each['msg']}" if place else each["msg"])
    return ApiError(422, "invalid_request", "; ".join(messages)[:1000])


async def _form(request: Request, settings: ServeSettings) -> tuple[list[Photo], dict[str, Any]]:
    try:
        async with request.form(max_files=settings.max_files, max_fields=20) as form:
            photos = [Photo(await part.read()) for part in form.getlist("file") if isinstance(part, UploadFile)]
            fields = {name: value for name, value in form.multi_items() if name != "file"}
            if wrong := [name for name, value in fields.items() if not isinstance(value, str)]:
                raise bad_request("unknown_field", f"the form has a file {wrong[0]!r:.60}; files are named `file`")
            if any(isinstance(part, str) for part in form.getlist("file")):
                raise bad_request("no_file", "`file` is a text; send it as a file, with a filename")
    except HTTPException as error:
        raise bad_request("invalid_form", str(error.detail)) from error
    return photos, fields


async def _json(request: Request) -> tuple[list[Photo], dict[str, Any]]:
    body = await read_json(request)
    files = body.pop("files", None)
    if not isinstance(files, list) or not all(isinstance(each, str) for each in files):
        raise bad_request("invalid_request", 'files: expected a list of photos in base64, {"files": ["..."]}')
    return [decode_base64(each) for each in files], body


async def read_json(request: Request) -> dict[str, Any]:
    """Returns the JSON object of a request's body.

    Raises:
      ApiError: it is something else.
    """
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise bad_request("invalid_json", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise bad_request("invalid_json", "the body is not a JSON object")
    return body


def decode_base64(text: str) -> Photo:
    """Returns the photo of a base64 text or a data URI."""
    if text[:5].lower() == "data:":
        match = _DATA_URI.match(text)
        if not match:
            return Photo(b"", "the data URI is not of the form data:image/jpeg;base64,...")
        text = text[match.end() :]
    try:
        text = "".join(text.split())  # encoders of e-mail wrap lines
        # Some clients leave out the padding.
        return Photo(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError):
        return Photo(b"", "the file is not base64; URLs are not fetched")
