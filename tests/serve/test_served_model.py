"""What requests may choose, and that a caption does not depend on the photos beside it."""

import pytest

from capjax.serve.errors import ApiError
from capjax.serve.served_model import ModelSource, ServedModel


@pytest.fixture(scope="module")
def samples(tiny_model, photos):
    return [tiny_model.predictor.read(data) for data in photos]


def warmed(model: ServedModel) -> ServedModel:
    model.warm_up(lambda function: function())
    return model


@pytest.fixture(scope="module")
def sampling(tiny, tiny_model):
    """The tiny model with captions that are drawn."""
    decode = (("method", "sample"), ("temperature", 2.0), ("num_beams", 1))
    return warmed(ServedModel(ModelSource("sampling", tiny.trained(), decode=decode)))


def test_the_defaults_are_those_of_the_config_and_the_first_choices(tiny_model):
    choice = tiny_model.choose()
    assert (choice.lang, choice.num_beams, choice.max_len, choice.num_captions) == ("en", 2, 8, 1)
    assert tiny_model.num_beams == (2, 1)
    assert tiny_model.max_len == (8, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lang": "fr"}, "en, de"), ({"num_beams": 3}, "beams = 3: this server has 1, 2"),
        ({"max_len": 9}, "max_len = 9: this server has 4, 8"), ({"num_captions": 3}, "n = 3: .* 1 to 2"),
        ({"num_captions": 0}, "n = 0"), ({"num_captions": 2, "num_beams": 1}, "1 to 1"),
    ],
)  # fmt: skip
def test_an_option_that_is_not_compiled_is_an_error_that_lists_those_that_are(tiny_model, options, message):
    with pytest.raises(ApiError, match=message) as raised:
        tiny_model.choose(**options)
    assert raised.value.status == 400


@pytest.mark.parametrize("options", [{}, {"num_beams": 1}, {"lang": "de", "max_len": 4}, {"num_captions": 2}])
def test_captions_are_the_same_alone_and_in_each_size_of_batch(tiny_model, samples, options):
    choice = tiny_model.choose(**options)
    alone = [tiny_model.caption([sample], choice)[0] for sample in samples]
    for size in (2, 8, 9, 32):
        batch = (samples * 6)[:size]
        captions = tiny_model.caption(batch, choice)
        assert [caption.text for caption in captions] == [(alone * 6)[index].text for index in range(size)]
        assert [caption.score for caption in captions] == pytest.approx(
            [(alone * 6)[index].score for index in range(size)], abs=1e-5
        )
        assert all(len(caption.alternatives) == choice.num_captions - 1 for caption in captions)


def test_programs_with_the_same_choice_may_share_a_batch_and_others_may_not(tiny_model):
    warmed(tiny_model)
    keys = [tiny_model.program(tiny_model.choose(**options)).key for options in (
        {}, {"lang": "en"}, {"seed": 7}, {"lang": "de"}, {"num_beams": 1}, {"max_len": 4}, {"num_captions": 2},
    )]  # fmt: skip
    assert keys[0] == keys[1] == keys[2], "the seed of a model that does not sample does not matter"
    assert len(set(keys)) == 5


def test_the_time_of_every_size_is_measured(tiny_model):
    warmed(tiny_model)
    seconds = tiny_model.program(tiny_model.choose()).seconds
    assert set(seconds) == {1, 8, 32} and all(each > 0 for each in seconds.values())


def test_a_model_that_samples_has_one_caption_for_a_seed_whatever_the_company(sampling, samples):
    from capjax.serve.model_thread import ModelThread

    seeds = range(12)
    alone = [sampling.caption([samples[0]], sampling.choose(seed=seed))[0].text for seed in seeds]
    assert len(set(alone)) > 1, "captions are drawn"
    thread = ModelThread(max_queued=256, batch_wait=0.01)
    thread.reserve(len(seeds) * 3)
    futures = []
    for seed in seeds:
        for sample in samples[:3]:
            futures.append(thread.submit(sampling.program(sampling.choose(seed=seed)), sample))
    assert [future.result(60).text for future in futures[::3]] == alone
    thread.close()


def test_beams_of_a_config_that_is_greedy_are_one(tiny):
    model = ServedModel(ModelSource("greedy", tiny.trained(), decode=(("method", "greedy"),), num_beams=(2,)))
    assert model.num_beams == (1, 2)
    with pytest.raises(ApiError):
        model.choose(num_captions=2)
    assert model.choose(num_beams=2, num_captions=2).num_captions == 2
