"""TensorFlow Serving's REST interface, so that clients of an exported model need no change.

A model has the signatures `serving_default` and `photo` of its export (see `capjax.export.signatures`) for files; those
for pixels and features are left to TensorFlow Serving. Its one version is the training step of the checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.convertors import StringConvertor, register_url_convertor

from capjax.decode.results import Caption
from capjax.serve.captioning import PhotoCaptioner, Timings, until_disconnected
from capjax.serve.captions_api import check_captions_photos, error_responses
from capjax.serve.errors import ApiError, bad_request
from capjax.serve.served_model import DecodeChoice, Models, ServedModel
from capjax.serve.settings import ServeSettings
from capjax.serve.uploads import Photo, decode_base64, read_json

_DEFAULT = "serving_default"
_OUTPUTS = {"caption": "DT_STRING", "score": "DT_FLOAT", "error": "DT_STRING"}


class _Segment(StringConvertor):
    """A part of a path, without a verb such as `:predict`."""

    regex = "[^/:]+"


register_url_convertor("segment", _Segment())


class TensorFlowError(BaseModel):
    """The form of TensorFlow Serving's errors."""

    error: str


@dataclass(frozen=True)
class _Input:
    """An input of a signature: its type, and its shape, in which -1 is any size."""

    dtype: str
    shape: tuple[int, ...]


_IMAGE_BYTES, _LANG, _KEY = _Input("DT_STRING", (-1,)), _Input("DT_STRING", (-1,)), _Input("DT_INT32", (2,))


@dataclass(frozen=True)
class _Row:
    """A row of a batch."""

    photo: Photo
    lang: str


_ERRORS = error_responses(TensorFlowError)
_BASE64 = {
    "type": "object", "required": ["b64"], "additionalProperties": False,
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
}  # fmt: skip
_STRING = {"anyOf": [_BASE64, {"type": "string"}]}
_PREDICT_BODY = {
    "required": True,
    "content": {"application/json": {"schema": {
        "type": "object",
        "properties": {
            "signature_name": {"type": "string", "enum": [_DEFAULT, "photo"]},
            "instances": {"type": "array", "minItems": 1, "items": {"anyOf": [_BASE64, {
                "type": "object", "required": ["image_bytes"],
                "properties": {"image_bytes": _STRING, "lang": {"type": "string"}},
            }]}},
            "inputs": {"anyOf": [{"type": "array", "items": _STRING}, {
                "type": "object", "required": ["image_bytes"],
                "properties": {
                    "image_bytes": {"type": "array", "items": _STRING},
                    "lang": {"type": "array", "items": {"type": "string"}},
                    "key": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
                },
            }]},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    }}},
}  # fmt: skip


def make_router(models: Models, captioner: PhotoCaptioner, settings: ServeSettings) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(tags=["tensorflow serving"], responses=_ERRORS)

    @router.post(
        "/v1/models/{name:segment}:predict", openapi_extra={"requestBody": _PREDICT_BODY}, summary="Caption photos"
    )
    async def predict(request: Request, name: str):
        return await answer(request, _model(models, name))

    @router.post(
        "/v1/models/{name:segment}/versions/{version:segment}:predict", openapi_extra={"requestBody": _PREDICT_BODY},
        summary="Caption photos with a version",
    )  # fmt: skip
    async def predict_version(request: Request, name: str, version: str):
        return await answer(request, _model(models, name, version))

    async def answer(request: Request, model: ServedModel) -> JSONResponse:
        check_captions_photos(model)
        body = await read_json(request)
        signature = body.get("signature_name", "")
        rows, seed = _parse(body, _inputs(model, _DEFAULT if signature == "" else signature), settings.max_files)
        choices, errors = _choose(model, rows, seed)
        photos = [row.photo for row, error in zip(rows, errors, strict=True) if not error]
        work = captioner.caption(photos, model, choices, Timings())
        captions = iter(await until_disconnected(request, work, settings.request_seconds))
        outputs = [_failed(error) if error else _output(next(captions)) for error in errors]
        if "instances" in body:
            return JSONResponse({"predictions": outputs})
        return JSONResponse({"outputs": {key: [row[key] for row in outputs] for key in _OUTPUTS}})

    @router.get("/v1/models/{name:segment}", summary="State of a model")
    async def status(name: str):
        return _status(_model(models, name))

    @router.get("/v1/models/{name:segment}/versions/{version:segment}", summary="State of a version")
    async def version_status(name: str, version: str):
        return _status(_model(models, name, version))

    @router.get("/v1/models/{name:segment}/metadata", summary="Signatures of a model")
    async def metadata(name: str):
        return _metadata(_model(models, name))

    @router.get("/v1/models/{name:segment}/versions/{version:segment}/metadata", summary="Signatures of a version")
    async def version_metadata(name: str, version: str):
        return _metadata(_model(models, name, version))

    return router


def _model(models: Models, name: str, version: str | None = None) -> ServedModel:
    model = models.get(name)
    if version not in (None, str(model.step)):
        raise ApiError(
            404, "unknown_version",
            f"Servable not found for request: Specific({name}, {version:.20}); this server has version {model.step}",
        )  # fmt: skip
    return model


# ---- Requests


def _signatures(model: ServedModel) -> dict[str, dict[str, _Input]]:
    """The inputs of each signature, in the order of the export."""
    photo = {"image_bytes": _IMAGE_BYTES, "lang": _LANG} | ({"key": _KEY} if model.samples else {})
    # The default signature of a model of videos takes frames.
    default = {} if model.takes_videos else {_DEFAULT: {"image_bytes": _IMAGE_BYTES}}
    return {**default, "photo": photo}


def _inputs(model: ServedModel, signature: Any) -> Mapping[str, _Input]:
    signatures = _signatures(model)
    if not isinstance(signature, str) or signature not in signatures:
        raise bad_request(
            "unknown_signature",
            f"Serving signature name: {signature!r:.60} not found in signature def; this server has "
            + ", ".join(signatures),
        )
    return signatures[signature]


def _parse(body: Mapping[str, Any], inputs: Mapping[str, _Input], max_rows: int) -> tuple[list[_Row], int]:
    """Returns the rows of a request, and the seed."""
    if ("instances" in body) == ("inputs" in body):
        raise bad_request("invalid_request", "expected one of 'instances' (rows) and 'inputs' (columns)")
    columns = _columns_of_rows(body["instances"], inputs) if "instances" in body else _columns(body["inputs"], inputs)
    seed = _seed(columns.pop("key")) if "key" in inputs else 0
    sizes = {name: len(column) for name, column in columns.items()}
    count = sizes["image_bytes"]
    if len(set(sizes.values())) > 1:
        raise bad_request("invalid_request", f"the inputs have different sizes: {sizes}")
    if count > max_rows:
        raise bad_request("too_many_files", f"{count} rows; at most {max_rows} in a request")
    photos = [_photo(value) for value in columns["image_bytes"]]
    langs = [_text(value) for value in columns.get("lang", [""] * count)]
    return [_Row(photo, lang) for photo, lang in zip(photos, langs, strict=True)], seed


def _columns_of_rows(instances: Any, inputs: Mapping[str, _Input]) -> dict[str, Sequence[Any]]:
    if not isinstance(instances, list) or not instances:
        raise bad_request("invalid_request", "instances: expected a list of one or more rows")
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() == {"b64"}:
            row = {"image_bytes": row}
        if row.keys() != inputs.keys():
            raise bad_request(
                "invalid_request",
                f"Failed to process element: {number} of 'instances' list. Keys must be equal to: {','.join(inputs)}",
            )
        rows.append(row)
    return {name: [row[name] for row in rows] for name in inputs}


def _columns(values: Any, inputs: Mapping[str, _Input]) -> dict[str, Sequence[Any]]:
    if not isinstance(values, dict):
        values = {"image_bytes": values}
    for name in inputs:
        if name not in values:
            raise bad_request("invalid_request", f"Missing named input: {name} in 'inputs' object.")
        if not isinstance(values[name], list):
            raise bad_request("invalid_request", f"{name}: expected a list with a value for each row")
    return {name: values[name] for name in inputs}


def _seed(key: Sequence[Any]) -> int:
    """A seed for the two numbers of a JAX key; that of `jax.random.key(seed)` where they are its data."""
    if len(key) != 2 or not all(isinstance(each, int) for each in key):
        raise bad_request("invalid_request", "key: expected two integers, which 'inputs' alone can hold")
    return (key[0] ^ key[1]) & 0xFFFF_FFFF


def _photo(value: Any) -> Photo:
    """The file of {"b64": ...}, or of a string."""
    if isinstance(value, str):
        return Photo(value.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict) or value.keys() != {"b64"} or not isinstance(value["b64"], str):
        raise bad_request("invalid_request", 'image_bytes: expected {"b64": "..."} for each row')
    photo = decode_base64(value["b64"])
    if photo.problem:
        raise bad_request("invalid_request", f"Unable to base64 decode: {photo.problem}")
    return photo


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = _photo(value).data.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise bad_request("invalid_request", "lang: expected a string for each row")
    return value


# ---- Answers


def _choose(model: ServedModel, rows: Sequence[_Row], seed: int) -> tuple[list[DecodeChoice], list[str]]:
    """Returns the options of the rows that can be captioned, and the error of each row, empty for those."""
    choices, errors = [], []
    for row in rows:
        try:
            choices.append(model.choose(lang=row.lang or None, seed=seed))
            errors.append("")
        except ApiError as error:
            errors.append(f"lang: {error}")
    return choices, errors


def _output(caption: Caption) -> dict[str, Any]:
    if caption.error:
        return _failed(f"image_bytes: {caption.error}")
    return {"caption": caption.text, "score": caption.score, "error": ""}


def _failed(error: str) -> dict[str, Any]:
    return {"caption": "", "score": 0.0, "error": error}


def _status(model: ServedModel) -> dict[str, Any]:
    """tensorflow.serving.GetModelStatusResponse"""
    status = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(model.step), "state": "AVAILABLE", "status": status}]}


def _metadata(model: ServedModel) -> dict[str, Any]:
    """tensorflow.serving.GetModelMetadataResponse, with `signature_def` as TensorFlow Serving writes it: without the
    type of google.protobuf.Any."""
    check_captions_photos(model)
    signatures = {
        name: {
            "inputs": {key: _tensor_info(f"{name}_{key}:0", value) for key, value in inputs.items()},
            "outputs": {
                key: _tensor_info(f"StatefulPartitionedCall:{index}", _Input(dtype, (-1,)))
                for index, (key, dtype) in enumerate(sorted(_OUTPUTS.items()))
            },
            "method_name": "tensorflow/serving/predict",
        }
        for name, inputs in _signatures(model).items()
    }
    return {
        "model_spec": {"name": model.source.name, "signature_name": "", "version": str(model.step)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor_info(name: str, value: _Input) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in value.shape]
    return {"dtype": value.dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}
