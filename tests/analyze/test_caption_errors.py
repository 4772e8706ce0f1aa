"""Errors of captions: of the kind that was made, with its evidence; and none where people differ as well."""

import time

import pytest

from capjax.analyze.caption_errors import find_errors
from capjax.analyze.disagreement import Disagreement
from capjax.analyze.findings import KINDS
from capjax.analyze.labels import LabeledObject
from tests.benchmarks.measure_analyze import PLANT, measure

REFERENCES = [
    "A black dog is running on the grass.", "A black dog runs across green grass.", "The black dog runs on grass.",
]  # fmt: skip
SIDE = ["A red circle left of a blue square.", "A blue square with a red circle to its left."]


def errors(caption, references, labels=None, lang="en"):
    """(kind, said, expected) of the errors of a caption."""
    result = find_errors({1: caption}, {1: references}, labels=None if labels is None else {1: labels}, lang=lang)
    return [(finding.kind, finding.said, finding.expected) for finding in result.findings[1]]


@pytest.mark.parametrize(("labels", "references"), [(False, 5), (True, 1)])
def test_planted_errors_are_found_and_nothing_else(labels, references):
    rates, lines = measure(17, labels=labels, references=references)
    assert set(rates) == set(PLANT) == set(KINDS)
    assert all(recall >= 0.95 and precision >= 0.95 for recall, precision in rates.values()), "\n".join(lines)


@pytest.mark.parametrize(
    ("caption", "references", "expected"),
    [
        ("A black cat runs on the grass.", REFERENCES, ("hallucinated object", "cat", "dog")),
        ("A black dog runs with a frisbee on the grass.", REFERENCES, ("hallucinated object", "frisbee", "")),
        ("Green grass.", REFERENCES, ("missing object", "", "dog")),
        ("A white dog runs on the grass.", REFERENCES, ("wrong attribute", "white dog", "black dog")),
        ("Three black dogs run on the grass.", REFERENCES, ("wrong number", "3 dog", "1 dog")),
        ("A black dog sleeps on the grass.", REFERENCES, ("wrong action", "lie", "run")),
        (
            "A red circle right of a blue square.", SIDE,
            ("wrong relation", "circle right of square", "circle left of square"),
        ),
        (
            "A blue square left of a red circle.", SIDE,
            ("wrong relation", "square left of circle", "square right of circle"),
        ),
        (
            "A red circle at the top.", ["A red circle at the bottom."] * 2,
            ("wrong relation", "circle: top", "circle: bottom"),
        ),
        (
            "A cat under a table.", ["A cat on a table.", "A cat is on the table."],
            ("wrong relation", "cat below dining table", "cat on dining table"),
        ),
    ],
)  # fmt: skip
def test_an_error_has_its_kind_and_what_was_to_be_said(caption, references, expected):
    assert errors(caption, references) == [expected]


@pytest.mark.parametrize(
    "caption",
    [
        "A dog runs on grass.",  # less is no error
        "A black animal running over the grass.",  # a general word
        "A black puppy jogging on a lawn.",  # synonyms
        "There is a dog that runs on grass.",
    ],
)
def test_true_captions_have_no_error(caption):
    assert not errors(caption, REFERENCES)


def test_labels_decide_on_objects_that_no_reference_names():
    labels = [LabeledObject("dog", (0.1, 0.1, 0.5, 0.5)), LabeledObject("frisbee")]
    caption = "A black dog runs with a frisbee on the grass."
    assert errors(caption, REFERENCES, labels) == []
    findings = find_errors({1: "Grass."}, {1: REFERENCES}, labels={1: labels}).findings[1]
    assert [(finding.kind, finding.expected, finding.boxes) for finding in findings] == [
        ("missing object", "dog", ((0.1, 0.1, 0.5, 0.5),))
    ]


def test_an_object_in_labels_of_other_images_only_is_hallucinated():
    labels = {1: [LabeledObject("dog")], 2: [LabeledObject("frisbee")]}
    captions = {1: "A black dog runs with a frisbee on grass.", 2: "A frisbee."}
    errors = find_errors(captions, {1: REFERENCES, 2: ["A frisbee."]}, labels=labels)
    (finding,) = errors.findings[1]
    assert (finding.kind, finding.said, finding.source) == ("hallucinated object", "frisbee", "labels")
    assert not errors.findings[2]


def test_boxes_decide_between_left_and_right():
    left, right = (0.0, 0.4, 0.2, 0.6), (0.7, 0.4, 0.9, 0.6)
    labels = [LabeledObject("cat", left), LabeledObject("dog", right)]
    references = ["A cat and a dog."] * 3
    assert errors("A cat left of a dog.", references, labels) == []
    assert errors("A cat right of a dog.", references, labels) == [
        ("wrong relation", "cat right of dog", "cat left of dog")
    ]


def test_where_references_often_differ_an_object_of_one_is_no_error():
    """Grass is in one of three references of each picture, so that a caption may name it alone."""
    references = {n: ["A dog runs.", "A dog is running.", "A dog runs on the grass."] for n in range(30)}
    captions = dict.fromkeys(references, "A dog runs.") | {0: "A dog runs by a tree.", 1: "A cat runs."}
    references[0] = ["A dog runs on the grass.", "A dog is running.", "A dog runs."]
    errors = find_errors(captions, references)
    assert not errors.findings[0], "nor is what nobody names, since people name what others do not"
    assert [finding.kind for finding in errors.findings[1]] == ["hallucinated object"], "but all agree on the animal"
    assert errors.disagreement.kinds["hallucinated object"] == 0


def test_disagreement_is_the_share_of_references_with_the_same_difference(parse, lexicon):
    sets = [[parse(text) for text in ("a dog", "a dog", "a dog", "a cat")]] + [[parse("a dog")] * 4] * 24
    disagreement = Disagreement.of(sets, lexicon)
    assert disagreement.compared == 100
    assert disagreement.differences["object instead", "cat", "dog"] == 1
    assert disagreement.said["object instead", "cat"] == 1
    assert disagreement.said["object instead", "dog"] == 99


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("A black dog is running on the", "truncation"), ("A black dog is running on the gra", "truncation"),
        ("A black dog is running on the.", "truncation"), ("A black dog, a", "truncation"), ("", "truncation"),
        ("A black dog a black dog runs on the grass.", "repetition"),
        ("A black dog runs on the grass the grass.", "repetition"),
        ("A dog dog runs on the grass.", "repetition"), ("A black dog with a black dog.", "repetition"),
        ("This is a picture of something.", "generic caption"), ("some things", "generic caption"),
        ("Ein schwarzer Hund rennt über die grüne Wiese.", "wrong language"),
        ("一只黑色的狗在草地上奔跑。", "wrong language"),
    ],
)  # fmt: skip
def test_errors_of_form(caption, kind):
    findings = find_errors({1: caption}, {1: REFERENCES}).findings[1]
    assert kind in {finding.kind for finding in findings}


@pytest.mark.parametrize(
    "caption",
    [
        "A black dog runs up and down, on and on.",
        "A very very black dog runs on the grass.",
        "A black dog is on the grass. The black dog runs.",
        "A dog, black, running",
        "People say: a black dog runs side by side with grass.",
    ],
)
def test_errors_of_form_are_not_found_in_whole_sentences(caption):
    kinds = {finding.kind for finding in find_errors({1: caption}, {1: REFERENCES}).findings[1]}
    assert not kinds & {"truncation", "repetition", "generic caption", "wrong language"}


@pytest.mark.parametrize(
    ("lang", "caption", "kinds"),
    [
        ("de", "Ein schwarzer Hund rennt über die Wiese.", set()),
        ("de", "Ein schwarzer Hund ein schwarzer Hund rennt.", {"repetition"}),
        ("de", "A black dog is running across the green grass.", {"wrong language"}),
        ("zh", "一只狗在草地上跑。", set()),
        ("zh", "一只狗一只狗一只狗在草地上跑。", {"repetition"}),
        ("zh", "A black dog is running across the green grass.", {"wrong language"}),
    ],
)
def test_form_is_checked_in_every_language(lang, caption, kinds):
    references = {"de": ["Ein schwarzer Hund rennt über die Wiese.", "Ein Hund läuft auf der Wiese."],
                  "zh": ["一只狗在草地上跑。", "一只黑色的狗在跑步。"]}[lang]  # fmt: skip
    assert {kind for kind, _, _ in errors(caption, references, lang=lang)} == kinds


@pytest.mark.parametrize(
    "text", ["a dog " * 5000, "a dog and " * 3000, "from left to right: " + "a dog, " * 3000, "x" * 20000]
)
def test_long_captions_take_no_long(text):
    begin = time.process_time()
    find_errors({1: text}, {1: [text, *REFERENCES]})
    assert time.process_time() - begin < 5


def test_the_same_caption_of_many_pictures_is_generic():
    captions = dict.fromkeys(range(5), "A man with a hat.") | {n: f"A man has {n} hats." for n in range(5, 100)}
    references = {n: [text, "A man."] for n, text in captions.items()}
    findings = find_errors(captions, references).findings
    assert all([f.kind for f in findings[n]] == ["generic caption"] for n in range(5))
    assert not any(f.kind == "generic caption" for n in range(5, 100) for f in findings[n])


def test_a_caption_without_the_period_of_all_others_is_cut():
    captions = {n: f"A man has {n} hats." for n in range(30)} | {30: "A man has 31 hats"}
    references = {n: [f"A man has {n + (n == 30)} hats.", "A man."] for n in captions}
    findings = find_errors(captions, references).findings
    assert [f.kind for f in findings[30]] == ["truncation"]
    references[1] = ["A man has 1 hats", "A man"]
    references[2] = ["A man has 2 hats", "A man"]
    assert not find_errors(captions, references).findings[30], "people leave it out as well"


def test_people_seldom_have_errors_by_the_captions_of_others(shared_data):
    """One caption of each Flickr8k photo against the other four: at most 7 % have an error, of swapped ones 60 %."""
    sets: dict[str, list[str]] = {}
    for line in (shared_data / "flickr8k/Flickr8k_text/Flickr8k.token.txt").read_text().splitlines():
        name, text = line.split("\t")
        sets.setdefault(name.split("#")[0], []).append(text)
    references = {name: texts[1:] for name, texts in sets.items()}
    first = {name: texts[0] for name, texts in sets.items()}
    of_another = dict(zip(first, [*list(first.values())[7:], *list(first.values())[:7]], strict=True))

    def share(captions):
        findings = find_errors(captions, references).findings
        return sum(map(bool, findings.values())) / len(findings)

    assert share(first) <= 0.07
    assert share(of_another) >= 0.6
