"""The check of a config: each setting by itself, and the conditions that involve several settings."""

from ml_collections import ConfigDict

from capjax.config.defaults import SETTINGS, flatten
from capjax.config.errors import ConfigError
from capjax.metrics.names import check_families, dense_figures, find_family, metric_names
from capjax.plugins import import_entry_points
from capjax.registry import nearest

# Settings that a stage of data.curriculum may change.
_STAGE_KEYS = ("num_frames", "image_size", "target_len", "hard")


def check(config: ConfigDict):
    """Raises ConfigError unless the config has all settings and every value is possible."""
    values = flatten(config)
    for key, setting in SETTINGS.items():
        if setting.check:
            setting.check(key, values[key])
    if values["train.batch_size"] % values["train.gradient_accumulation_steps"]:
        raise ConfigError(
            f"train.batch_size = {values['train.batch_size']} does not divide into "
            f"train.gradient_accumulation_steps = {values['train.gradient_accumulation_steps']} micro-batches"
        )
    for lang, weight in values["data.language_weights"].items():
        if not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(
                f"data.language_weights.{lang} = {weight!r}: expected a number above 0; to leave a language out, "
                "remove it from data.languages"
            )
    if values["data.task"] == "dense" and (values["decode.min_len"] or values["decode.no_repeat_ngram"]):
        raise ConfigError("data.task = 'dense' needs decode.min_len = 0 and decode.no_repeat_ngram = 0")
    for name, weight in values["train.loss_terms"].items():
        if not isinstance(weight, (int, float)):
            raise ConfigError(f"train.loss_terms.{name} = {weight!r}: expected a number, the weight of the term")
    _check_profile(values["train.profile"], values["train.steps"])
    _check_mitigation(values)
    _check_scores(values)
    _check_buckets(values["data.buckets"], values["data.num_frames"])
    _check_curriculum(values)


def _check_profile(steps: tuple, train_steps: int):
    if steps and not (len(steps) == 2 and all(type(step) is int for step in steps) and 1 <= steps[0] <= steps[1]):
        raise ConfigError(f"train.profile = {steps!r}: expected the first and last step to trace: (100, 105)")
    if steps and steps[1] > train_steps:
        raise ConfigError(f"train.profile = {steps!r}: training ends with step {train_steps} (train.steps)")


def _check_mitigation(values: dict):
    attribute = values["mitigation.attribute"]
    if len(attribute) == 1:
        raise ConfigError(f"mitigation.attribute = {attribute!r}: expected two groups of words or more")
    for key in ("mitigation.balance", "mitigation.counterfactual", "decode.attribute_shares"):
        if values[key] and not attribute:
            raise ConfigError(
                f"{key} = {values[key]!r} needs mitigation.attribute, the words that it is about, such as "
                '(("man", "men"), ("woman", "women"))'
            )
    if values["mitigation.counterfactual"]:
        _check_counterfactual(values)
    if values["decode.attribute_shares"]:
        check_attribute_shares(values)


def _check_counterfactual(values: dict):
    neutral, groups = values["mitigation.neutral"], values["mitigation.attribute"]
    if not all(isinstance(word, str) for word in neutral):
        raise ConfigError(f'mitigation.neutral = {neutral!r}: expected words, such as ("person", "people")')
    lengths = [len(group) for group in (*groups, *([neutral] if neutral else []))]
    if len(set(lengths)) > 1:
        raise ConfigError(
            "mitigation.counterfactual exchanges words at the same position of their groups, and the groups of "
            f"mitigation.attribute{' and mitigation.neutral' if neutral else ''} have "
            f"{', '.join(map(str, lengths))} words; give them the same number"
        )
    if values["data.task"] == "dense":
        raise ConfigError("mitigation.counterfactual is for whole captions; data.task = 'dense' has events")


def check_attribute_shares(values: dict):
    """Raises ConfigError unless `decode.attribute_shares` goes with the other settings, given by dotted key."""
    where = f"decode.attribute_shares = {values['decode.attribute_shares']!r}"
    if not values["mitigation.attribute"]:
        raise ConfigError(f"{where} needs mitigation.attribute, which the config of this model does not have")
    if values["decode.method"] == "greedy" or values["decode.num_beams"] == 1:
        raise ConfigError(
            f"{where} chooses among several candidates: set decode.method to beam or sample, and decode.num_beams to 2 "
            "or more"
        )
    if values["decode.num_neighbors"]:
        raise ConfigError(f"{where} does not go with decode.num_neighbors, which chooses as well; set one of them")
    if values["data.task"] == "dense":
        raise ConfigError(f"{where} is for whole captions; data.task = 'dense' has events")


def _check_scores(values: dict):
    if any(find_family(name) is None for name in values["eval.metrics"]):
        import_entry_points()
    try:
        families = check_families(values["eval.metrics"])
        names = (dense_figures if values["data.task"] == "dense" else metric_names)(families)
    except ValueError as error:
        raise ConfigError(f"eval.metrics: {error}") from error
    best = values["checkpoint.best"]
    if best not in names:
        raise ConfigError(f"checkpoint.best = {best!r}: {nearest(best, names)}; eval.metrics is {', '.join(families)}")


def _check_buckets(buckets: tuple, num_frames: int):
    if not all(type(bucket) is int and bucket >= 1 for bucket in buckets) or list(buckets) != sorted(set(buckets)):
        raise ConfigError(f"data.buckets = {buckets!r}: expected increasing frame counts, such as (8, 16, 32)")
    if buckets and buckets[-1] != num_frames:
        raise ConfigError(
            f"data.buckets = {buckets!r} and data.num_frames = {num_frames}: the last bucket should be {num_frames}, "
            "the maximum number of frames of a record"
        )


def _check_curriculum(values: dict):
    previous = -1
    for number, stage in enumerate(values["data.curriculum"]):
        where = f"data.curriculum[{number}]"
        is_pair = isinstance(stage, (tuple, list)) and len(stage) == 2
        if not is_pair or type(stage[0]) is not int or not isinstance(stage[1], dict):
            raise ConfigError(f'{where} = {stage!r}: expected (FIRST_STEP, {{"num_frames": 8, ...}})')
        first, changes = stage
        if first <= previous or (number == 0 and first):
            expected = f"a step above {previous}" if number else "0, since it is the first stage"
            raise ConfigError(f"{where} begins at step {first}: expected {expected}")
        previous = first
        for key, value in changes.items():
            _check_change(f"{where}: {key}", key, value, values)


def _check_change(where: str, key: str, value, values: dict):
    """Raises ConfigError unless a stage may set `key` to `value`."""
    if key not in _STAGE_KEYS:
        raise ConfigError(f"{where}: a stage cannot set it; {nearest(str(key), _STAGE_KEYS)}")
    if key == "hard":
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ConfigError(f"{where} = {value!r}: expected a fraction from 0 to 1")
        return
    maximum = values[f"data.{key}"]
    if type(value) is not int or not 1 <= value <= maximum:
        raise ConfigError(f"{where} = {value!r}: expected a whole number from 1 to data.{key} = {maximum}")
    if key == "image_size" and values["data.features"]:
        raise ConfigError(f"{where}: data.features is set, and extracted features have one size; leave it out")
