"""TensorFlow Serving's REST interface, checked against its protos."""

import base64
import json

import numpy as np
import pytest


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def predict(server, body: dict, path: str = "/v1/models/tiny:predict"):
    # As `curl -d` sends it.
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return server.client.post(path, content=json.dumps(body), headers=headers)


def answer(server, body: dict, path: str = "/v1/models/tiny:predict") -> dict:
    response = predict(server, body, path)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture(scope="module")
def captions(tiny_model, photos):
    """The captions of the predictor by language."""
    return {lang: tiny_model.predictor.caption(photos, lang=lang) for lang in ("en", "de")}


# ---- Predict


def test_rows_have_the_captions_of_the_predictor(server, photos, captions):
    for instances in ([b64(data) for data in photos], [{"image_bytes": b64(data)} for data in photos]):
        rows = answer(server, {"instances": instances})["predictions"]
        assert [row["caption"] for row in rows] == [caption.text for caption in captions["en"]]
        assert [row["score"] for row in rows] == pytest.approx([caption.score for caption in captions["en"]])
        assert [row["error"] for row in rows] == [""] * len(photos)


def test_columns_have_the_captions_of_the_predictor(server, photos, captions):
    files = [b64(data) for data in photos]
    for inputs in (files, {"image_bytes": files}):
        columns = answer(server, {"inputs": inputs, "signature_name": "serving_default"})["outputs"]
        assert set(columns) == {"caption", "score", "error"}
        assert columns["caption"] == [caption.text for caption in captions["en"]]


def test_each_row_may_have_a_language(server, photos, captions):
    langs = ["en", "de", "", "de", "en", "de"]
    instances = [{"image_bytes": b64(data), "lang": lang} for data, lang in zip(photos, langs, strict=True)]
    rows = answer(server, {"signature_name": "photo", "instances": instances})["predictions"]
    expected = [captions[lang or "en"][number].text for number, lang in enumerate(langs)]
    assert [row["caption"] for row in rows] == expected
    columns = {"image_bytes": [b64(data) for data in photos], "lang": langs}
    assert answer(server, {"signature_name": "photo", "inputs": columns})["outputs"]["caption"] == expected


def test_a_row_with_an_error_does_not_affect_the_others(server, photos, captions):
    instances = [
        {"image_bytes": b64(photos[0]), "lang": "en"},
        {"image_bytes": b64(photos[0][:300]), "lang": "en"},
        {"image_bytes": b64(photos[1]), "lang": "xx"},
        {"image_bytes": b64(b""), "lang": "de"},
        {"image_bytes": "no file", "lang": "de"},
        {"image_bytes": b64(photos[2]), "lang": "de"},
    ]
    rows = answer(server, {"signature_name": "photo", "instances": instances})["predictions"]
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, True, False]
    assert (rows[0]["caption"], rows[5]["caption"]) == (captions["en"][0].text, captions["de"][2].text)
    assert all((row["caption"], row["score"]) == ("", 0.0) for row in rows[1:5])
    assert rows[1]["error"].startswith("image_bytes: ")
    assert rows[2]["error"].startswith("lang: ") and "en, de" in rows[2]["error"]


def test_no_rows_have_an_answer_without_rows(server):
    assert answer(server, {"inputs": {"image_bytes": []}})["outputs"] == {"caption": [], "score": [], "error": []}


def test_a_version_is_the_training_step(server, tiny_model, photos, captions):
    path = f"/v1/models/tiny/versions/{tiny_model.step}:predict"
    [row] = answer(server, {"instances": [b64(photos[0])]}, path)["predictions"]
    assert row["caption"] == captions["en"][0].text
    response = predict(server, {"instances": [b64(photos[0])]}, "/v1/models/tiny/versions/7:predict")
    assert response.status_code == 404
    assert str(tiny_model.step) in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ([], "JSON"),
        ({}, "instances"),
        ({"instances": [{"b64": "AAAA"}], "inputs": []}, "one of"),
        ({"instances": []}, "instances"),
        ({"instances": {"b64": "AAAA"}}, "instances"),
        ({"instances": [{"b64": "?"}]}, "base64"),
        ({"instances": [{"b64": 1}]}, "b64"),
        ({"instances": [7]}, "image_bytes"),
        ({"instances": [None]}, "image_bytes"),
        ({"instances": [{}]}, "element: 0"),
        ({"instances": [{"b64": "AAAA"}, {"image": {"b64": "AAAA"}}]}, "element: 1"),
        ({"instances": [{"image_bytes": {"b64": "AAAA"}, "lang": "en"}]}, "equal to: image_bytes"),
        ({"instances": [{"b64": "AAAA"}], "signature_name": "photo"}, "equal to: image_bytes,lang"),
        ({"instances": [{"image_bytes": {"b64": "AAAA"}, "lang": 1}], "signature_name": "photo"}, "lang"),
        ({"instances": [{"b64": "AAAA"}], "signature_name": "pixels"}, "serving_default, photo"),
        ({"instances": [{"b64": "AAAA"}], "signature_name": 1}, "signature"),
        ({"instances": [{"b64": "AAAA"}], "signature_name": []}, "signature"),
        ({"inputs": {"b64": "AAAA"}}, "image_bytes"),
        ({"inputs": None}, "image_bytes"),
        ({"inputs": {"image_bytes": {"b64": "AAAA"}}}, "image_bytes"),
        ({"inputs": {"image_bytes": [], "lang": ["en"]}, "signature_name": "photo"}, "sizes"),
        ({"inputs": [{"b64": "AAAA"}] * 65}, "64"),
    ],
)
def test_a_wrong_request_has_an_error_of_the_form_of_tensorflow_serving(server, body, names):
    response = predict(server, body)
    assert response.status_code == 400, response.text
    error = response.json()
    assert list(error) == ["error"]
    assert names in error["error"]


def test_errors_of_every_kind_have_the_form_of_tensorflow_serving(server):
    unknown = predict(server, {"instances": [b64(b"")]}, "/v1/models/large:predict")
    assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
    assert "tiny" in unknown.json()["error"]
    wrong = server.client.get("/v1/models/tiny:predict/other")
    assert isinstance(wrong.json()["error"], str)
    for version in ("no", "-1", "9" * 5000):
        response = server.client.get(f"/v1/models/tiny/versions/{version}")
        assert (response.status_code, isinstance(response.json()["error"], str)) == (404, True)


# ---- Status and metadata


def test_the_status_is_a_get_model_status_response(server, tiny_model):
    protos = pytest.importorskip("tensorflow_serving.apis.get_model_status_pb2")
    from google.protobuf import json_format

    for path in ("/v1/models/tiny", f"/v1/models/tiny/versions/{tiny_model.step}"):
        response = json_format.Parse(server.client.get(path).text, protos.GetModelStatusResponse())
        [version] = response.model_version_status
        assert version.version == tiny_model.step
        assert version.state == protos.ModelVersionStatus.State.AVAILABLE
        assert (version.status.error_code, version.status.error_message) == (0, "")


def signature_map(server):
    """The signatures of the metadata, as the proto that TensorFlow Serving writes there."""
    protos = pytest.importorskip("tensorflow_serving.apis.get_model_metadata_pb2")
    from google.protobuf import json_format

    answer = server.client.get("/v1/models/tiny/metadata").json()
    return json_format.ParseDict(answer["metadata"]["signature_def"], protos.SignatureDefMap()).signature_def


def test_the_metadata_are_a_get_model_metadata_response(server, tiny_model):
    protos = pytest.importorskip("tensorflow_serving.apis.get_model_metadata_pb2")
    from google.protobuf import json_format

    answer = server.client.get("/v1/models/tiny/metadata").json()
    answer["metadata"]["signature_def"]["@type"] = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    response = json_format.ParseDict(answer, protos.GetModelMetadataResponse())
    assert (response.model_spec.name, response.model_spec.version.value) == ("tiny", tiny_model.step)
    assert set(signature_map(server)) == {"serving_default", "photo"}
    version = server.client.get(f"/v1/models/tiny/versions/{tiny_model.step}/metadata").json()
    assert version == server.client.get("/v1/models/tiny/metadata").json()


@pytest.mark.parametrize("signature", ["serving_default", "photo"])
def test_a_predict_request_written_as_json_has_a_predict_response(server, photos, captions, signature):
    protos = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    from tensorflow import make_ndarray, make_tensor_proto

    definition = signature_map(server)[signature]
    values = {"image_bytes": photos, "lang": [b"de"] * len(photos)}
    request = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "tiny", signature
    for name, info in definition.inputs.items():
        request.inputs[name].CopyFrom(make_tensor_proto(values[name], dtype=info.dtype))
        assert [dim.size for dim in info.tensor_shape.dim] == [-1]
    columns = {name: [b64(value) for value in tensor.string_val] for name, tensor in request.inputs.items()}
    body = {"signature_name": request.model_spec.signature_name, "inputs": columns}
    outputs = answer(server, body, f"/v1/models/{request.model_spec.name}:predict")["outputs"]
    response = protos.PredictResponse()
    for name, info in definition.outputs.items():
        response.outputs[name].CopyFrom(make_tensor_proto(outputs[name], dtype=info.dtype))
    lang = "de" if signature == "photo" else "en"
    written = make_ndarray(response.outputs["caption"])
    assert [text.decode() for text in written] == [caption.text for caption in captions[lang]]
    assert make_ndarray(response.outputs["score"]).dtype == np.float32


# ---- An export


@pytest.mark.slow
def test_a_client_of_the_export_needs_no_change(server, servers, tiny, photos, tmp_path):
    import tensorflow as tf

    from capjax.serve.served_model import ModelSource
    from tests.helpers.tiny_job import copy

    workdir = copy(tiny.trained(), tmp_path / "run")
    done = tiny.launch(workdir, mode="export")
    assert done.returncode == 0, done.stderr
    exported = tf.saved_model.load(str(workdir / "export")).signatures
    protos = pytest.importorskip("tensorflow_serving.apis.get_model_metadata_pb2")
    assert protos
    for name, definition in signature_map(server).items():
        inputs = exported[name].structured_input_signature[1]
        assert {key: spec.dtype.as_datatype_enum for key, spec in inputs.items()} == {
            key: info.dtype for key, info in definition.inputs.items()
        }
        outputs = exported[name].structured_outputs
        assert {key: spec.dtype.as_datatype_enum for key, spec in outputs.items()} == {
            key: info.dtype for key, info in definition.outputs.items()
        }
    files = [*photos, photos[0][:300], b""]
    langs = ["en", "de", "", "xx", "de", "en", "de", "de"]
    expected = exported["photo"](image_bytes=tf.constant(files), lang=tf.constant(langs))
    columns = {"image_bytes": [b64(data) for data in files], "lang": langs}
    of_export = servers.start_loading(ModelSource("tiny", workdir, workdir / "export"))
    of_export.wait_until_ready()
    for each in (server, of_export):
        outputs = answer(each, {"signature_name": "photo", "inputs": columns})["outputs"]
        assert outputs["caption"] == [text.decode() for text in expected["caption"].numpy()]
        assert outputs["score"] == pytest.approx(expected["score"].numpy().tolist(), abs=1e-4)
        assert [bool(error) for error in outputs["error"]] == [bool(error) for error in expected["error"].numpy()]
