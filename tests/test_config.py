import pytest

from capjax import config as config_lib
from capjax.config import ConfigError
from tests.helpers.every_config import every_config

SHAPES = "configs/shapes.py"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_overrides_take_the_type_of_the_default():
    config = config_lib.load(
        SHAPES,
        ["optimizer.learning_rate=1", "data.languages=en,de", "train.tensorboard=false", "name=7",
         "data.train=some/dir@train", "model.decoder.options.layers=3", "data.language_weights.en=2.5"],
    )  # fmt: skip
    assert config.optimizer.learning_rate == 1.0 and isinstance(config.optimizer.learning_rate, float)
    assert config.data.languages == ("en", "de")
    assert config.train.tensorboard is False
    assert config.name == "7"
    assert config.data.train == ("some/dir@train",)
    assert config.model.decoder.options.layers == 3
    assert config.data.language_weights.en == 2.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lerning_rate=1", "optimizer.learning_rate"),
        ("learning_rate=1", "optimizer.learning_rate"),
        ("trian.steps=5", "train.steps"),
        ("train.steps=many", "whole number"),
        ("train.steps=1.5", "whole number"),
        ("train.tensorboard=1", "true or false"),
        ("optimizer.name=adamm", "did you mean 'adam'"),
        ("train.steps=0", "1 or more"),
        ("decode.num_neighbors=-1", "0 or more"),
        ("model.dropout=1.5", "share"),
        ("train=5", "group"),
        ("model.decoder.options=5", "group"),
        ("checkpoint.best=cider", "did you mean 'CIDEr'"),
        ("batch_size=8", "'eval.batch_size' or 'train.batch_size'"),
        ("train.gradient_accumulation_steps=7", "does not divide"),
        ("train.steps", "VALUE"),
    ],
)
def test_a_wrong_override_names_the_right_key_or_type(override, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load(SHAPES, [override])


def test_a_misspelt_key_in_a_config_file_is_an_error(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        "import sys; sys.path.insert(0, 'configs')\nimport common\n"
        "def get_config():\n    c = common.get_config()\n    c.train.stepz = 5\n    return c\n"
    )
    with pytest.raises(ConfigError, match="steps"):
        config_lib.load(str(path))


def test_a_missing_file_names_the_nearest():
    with pytest.raises(FileNotFoundError, match=r"shapes\.py"):
        config_lib.load("configs/shape.py")


def test_the_options_of_a_constructor_can_be_replaced_as_a_whole():
    config = config_lib.load(SHAPES, ["model.decoder.name=lstm", 'model.decoder.options={"dropout": 0.5}'])
    assert config.model.decoder.options.to_dict() == {"dropout": 0.5}
    assert config_lib.load(SHAPES, ["model.decoder.options={}"]).model.decoder.options.to_dict() == {}


def test_json_gives_back_the_config():
    config = config_lib.load(SHAPES, ["data.languages=en,de"])
    again = config_lib.from_json(config_lib.to_json(config), "here")
    assert dict(config_lib.flatten(again)) == dict(config_lib.flatten(config))


def test_every_config_file_loads():
    for source in every_config():
        assert config_lib.load(source).train.steps > 0


@pytest.mark.parametrize(
    "best",
    ["F1@0.5", "SODA_c (ROUGE-L)", "SODA_d precision", "paragraph CIDEr", "Kendall tau", "boundary error p90 (s)"],
)
def test_the_best_checkpoint_of_a_dense_model_may_be_chosen_by_any_figure(best):
    config = config_lib.load("configs/common.py", ["data.task=dense", f"checkpoint.best={best}"])
    assert config.checkpoint.best == best


def test_figures_that_will_not_be_computed_choose_no_checkpoint():
    with pytest.raises(ConfigError, match=r"checkpoint.best = 'SODA_c': .*SODA_c \(ROUGE-L\)"):
        config_lib.load("configs/common.py", ["data.task=dense", "checkpoint.best=SODA_c"])


def test_an_unknown_form_of_predictions_names_those_there_are():
    with pytest.raises(ConfigError, match="eval.output_format = 'msrvt': did you mean 'msrvtt'"):
        config_lib.load("configs/common.py", ["eval.output_format=msrvt"])


WHOLE = ["data.num_frames=16", "data.image_size=64", "data.target_len=24"]


def test_a_curriculum_and_buckets_can_be_set_and_come_back():
    stages = ((0, {"num_frames": 8, "image_size": 32, "target_len": 16, "hard": 0.2}), (500, {"hard": 1}), (900, {}))
    config = config_lib.load(SHAPES, [*WHOLE, f"data.curriculum={stages!r}", "data.buckets=4,8,16"])
    assert config.data.curriculum == stages and config.data.buckets == (4, 8, 16)
    again = config_lib.from_json(config_lib.to_json(config), "here")
    assert again.data.curriculum == stages and again.data.buckets == (4, 8, 16)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((0, {"num_frames": 8}), r"curriculum\[0\] = 0: expected \(FIRST_STEP, \{"),
        (((0, 8),), r"curriculum\[0\] = \(0, 8\): expected"),
        ((("0", {}),), r"expected \(FIRST_STEP"),
        (((5, {}),), r"curriculum\[0\] begins at step 5: expected 0"),
        (((0, {}), (50, {}), (50, {})), r"curriculum\[2\] begins at step 50: expected a step above 50"),
        (((0, {"frame": 8}),), r"curriculum\[0\]: frame: no stage can set it; did you mean 'num_frames'"),
        (((0, {}), (9, {"num_frames": 17})), r"curriculum\[1\]: num_frames = 17: .*from 1 to data.num_frames = 16"),
        (((0, {"num_frames": 4.0}),), "whole number"),
        (((0, {"num_frames": True}),), "whole number"),
        (((0, {"image_size": 128}),), "from 1 to data.image_size = 64"),
        (((0, {"target_len": 0}),), "from 1 to data.target_len = 24"),
        (((0, {"hard": 1.5}),), "hard = 1.5: expected a share from 0 to 1"),
        (((0, {"hard": True}),), "share"),
    ],
)
def test_a_curriculum_that_cannot_be_names_stage_and_key(stages, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load(SHAPES, [*WHOLE, f"data.curriculum={stages!r}"])


def test_features_have_one_size_in_all_stages():
    stages = 'data.curriculum=((0, {"image_size": 32}),)'
    with pytest.raises(ConfigError, match="image_size: data.features is set"):
        config_lib.load(SHAPES, [*WHOLE, "data.features=true", stages])


@pytest.mark.parametrize(
    ("buckets", "message"),
    [("8,8,16", "each above"), ("16,8", "each above"), ("0,16", "each above"), ("4.5,16", "each above"),
     ("8,32", "the last bucket should be 16"), ("4,8", "the last bucket should be 16")],
)  # fmt: skip
def test_buckets_rise_to_the_frames_of_a_record(buckets, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load(SHAPES, [*WHOLE, f"data.buckets={buckets}"])
