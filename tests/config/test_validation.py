"""The check of a config: impossible values are named with their key and the values that are allowed."""

import pytest

from capjax.config import ConfigError, default_config, from_json, to_json, with_overrides


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.name=adamm", "did you mean 'adam'"),
        ("train.steps=0", "train.steps = 0: expected 1 or more"),
        ("decode.num_neighbors=-1", "0 or more"),
        ("model.dropout=1.5", "model.dropout = 1.5: expected a fraction"),
        ("train.gradient_accumulation_steps=7", "does not divide"),
        ("data.languages=()", "at least one"),
        ("data.language_weights.en=0", "data.language_weights.en = 0: expected a number above 0"),
        ("data.language_weights.en=much", "expected a number above 0"),
        ("mitigation.balance=sample", "did you mean 'sampling'"),
        ("mitigation.balance=weights", "mitigation.balance = 'weights' needs mitigation.attribute"),
        ("mitigation.attribute=man,woman", r"mitigation.attribute = \('man', 'woman'\): expected groups of words"),
        ("mitigation.attribute=(('man',), ('Man',))", "none of them in two groups"),
        ("mitigation.attribute=(('man', '.'), ('woman',))", "expected groups of words"),
        ("mitigation.attribute=(('man', 3), ('woman',))", "expected groups of words"),
        ("mitigation.attribute=(('man',),)", "expected two groups of words or more"),
        ("mitigation.max_weight=0.5", "1 or more"),
        ("mitigation.counterfactual=1.5", "a share: from 0 to 1"),
        ("mitigation.counterfactual=0.5", "mitigation.counterfactual = 0.5 needs mitigation.attribute"),
        ("decode.attribute_shares=equal", "decode.attribute_shares = 'equal' needs mitigation.attribute"),
        ("decode.attribute_shares=data", "equal, training"),
        ("init_patterns=('^encoders/', '(')", r"init_patterns = .*: expected valid regular expressions"),
        ("optimizer.freeze=('[',)", "optimizer.freeze = .*: expected valid regular expressions"),
        ("optimizer.no_decay=(3,)", "optimizer.no_decay = .*: expected valid regular expressions"),
        ("optimizer.lr_multipliers=(('(', 0.1),)", "pairs of a valid regular expression and a factor"),
        ("optimizer.lr_multipliers=(('^encoders/',),)", "pairs of a valid regular expression and a factor"),
        ("optimizer.lr_multipliers=('^encoders/', 0.1)", "pairs of a valid regular expression and a factor"),
        ("optimizer.learning_rate=-1e-3", "optimizer.learning_rate = -0.001: expected 0 or more"),
        ("optimizer.b2=1.5", "optimizer.b2 = 1.5: expected a fraction"),
        ("optimizer.clip_norm=-1.0", "0 or more"),
        ("data.crop_scale=(0.5,)", r"data.crop_scale = \(0.5,\): expected the least and the largest share"),
        ("data.crop_scale=(0.5, 1.5)", "the least and the largest share"),
        ("data.crop_aspect=(2.0, 1.0)", "the least and the largest ratio"),
        ("data.crop_aspect=('a', 'b')", "the least and the largest ratio"),
        ("decode.temperature=-0.1", "0 or more"),
        ("train.profile=(900, 1001)", r"train.profile = \(900, 1001\): training ends with step 1000"),
        ("decode.top_p=0.0", "decode.top_p = 0.0: expected a share: above 0"),
    ],
)
def test_an_impossible_value_is_named(override, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(default_config(), [override])


def test_an_unknown_output_format_lists_the_known_ones():
    with pytest.raises(ConfigError, match="eval.output_format = 'msrvt': did you mean 'msrvtt'"):
        with_overrides(default_config(), ["eval.output_format=msrvt"])


WHOLE = ["data.num_frames=16", "data.image_size=64", "data.target_len=24"]


def test_a_curriculum_and_buckets_can_be_set_and_come_back():
    stages = ((0, {"num_frames": 8, "image_size": 32, "target_len": 16, "hard": 0.2}), (500, {"hard": 1}), (900, {}))
    config = with_overrides(default_config(), [*WHOLE, f"data.curriculum={stages!r}", "data.buckets=4,8,16"])
    assert config.data.curriculum == stages and config.data.buckets == (4, 8, 16)
    again = from_json(to_json(config), "here")
    assert again.data.curriculum == stages and again.data.buckets == (4, 8, 16)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((0, {"num_frames": 8}), r"curriculum\[0\] = 0: expected \(FIRST_STEP, \{"),
        (((0, 8),), r"curriculum\[0\] = \(0, 8\): expected"),
        ((("0", {}),), r"expected \(FIRST_STEP"),
        (((5, {}),), r"curriculum\[0\] begins at step 5: expected 0"),
        (((0, {}), (50, {}), (50, {})), r"curriculum\[2\] begins at step 50: expected a step above 50"),
        (((0, {"frame": 8}),), r"curriculum\[0\]: frame: a stage cannot set it; did you mean 'num_frames'"),
        (((0, {}), (9, {"num_frames": 17})), r"curriculum\[1\]: num_frames = 17: .*from 1 to data.num_frames = 16"),
        (((0, {"num_frames": 4.0}),), "whole number"),
        (((0, {"num_frames": True}),), "whole number"),
        (((0, {"image_size": 128}),), "from 1 to data.image_size = 64"),
        (((0, {"target_len": 0}),), "from 1 to data.target_len = 24"),
        (((0, {"hard": 1.5}),), "hard = 1.5: expected a fraction from 0 to 1"),
        (((0, {"hard": True}),), "fraction"),
    ],
)
def test_a_curriculum_that_cannot_be_names_stage_and_key(stages, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(default_config(), [*WHOLE, f"data.curriculum={stages!r}"])


def test_features_have_one_size_in_all_stages():
    stages = 'data.curriculum=((0, {"image_size": 32}),)'
    with pytest.raises(ConfigError, match="image_size: data.features is set"):
        with_overrides(default_config(), [*WHOLE, "data.features=true", stages])


@pytest.mark.parametrize(
    ("buckets", "message"),
    [("8,8,16", "increasing"), ("16,8", "increasing"), ("0,16", "increasing"), ("4.5,16", "increasing"),
     ("8,32", "the last bucket should be 16"), ("4,8", "the last bucket should be 16")],
)  # fmt: skip
def test_buckets_rise_to_the_frames_of_a_record(buckets, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(default_config(), [*WHOLE, f"data.buckets={buckets}"])


@pytest.mark.parametrize(
    "best",
    ["F1@0.5", "SODA_c (ROUGE-L)", "SODA_d precision", "paragraph CIDEr", "Kendall tau", "boundary error p90 (s)"],
)
def test_any_score_of_a_dense_model_may_select_the_best_checkpoint(best):
    with_overrides(default_config(), ["data.task=dense", f"checkpoint.best={best}"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.task=dense", "checkpoint.best=SODA_c"], r"checkpoint.best = 'SODA_c': .*SODA_c \(ROUGE-L\)"),
        (["checkpoint.best=cider"], "checkpoint.best = 'cider': did you mean 'CIDEr'.* eval.metrics is bleu"),
        (["checkpoint.best=F1"], "checkpoint.best = 'F1'"),
        (["eval.metrics=blue"], "eval.metrics: .*bleu"),
    ],
)
def test_a_score_that_is_not_computed_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(default_config(), settings)


WORDS = "mitigation.attribute=(('man', 'men'), ('woman', 'women'))"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mitigation.attribute=(('man', 'men'), ('woman',))"], "have 2, 1 words; give them the same number"),
        ([WORDS, "mitigation.neutral=person"], "and mitigation.neutral have 2, 2, 1 words"),
        ([WORDS, "mitigation.neutral=(1, 2)"], "mitigation.neutral = .*expected words"),
        ([WORDS, "data.task=dense"], "mitigation.counterfactual is for whole captions"),
    ],
)
def test_counterparts_that_cannot_be_are_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(default_config(), [*settings, "mitigation.counterfactual=0.5"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("decode.method=greedy", "chooses among several candidates"),
        ("decode.num_beams=1", "chooses among several candidates"),
        ("decode.num_neighbors=3", "does not go with decode.num_neighbors"),
        ("data.task=dense", "is for whole captions"),
    ],
)
def test_shares_need_candidates(setting, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(default_config(), [WORDS, "decode.attribute_shares=equal", setting])


def test_groups_of_words_come_back():
    groups = (("man", "him", "his"), ("woman", "her", "her"))
    config = with_overrides(default_config(), [f"mitigation.attribute={groups!r}", "mitigation.balance=weights"])
    assert from_json(to_json(config), "here").mitigation.attribute == groups
