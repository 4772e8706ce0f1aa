"""The tokenizer against Stanford's Java program, as pycocoevalcap runs it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from capjax.metrics.ptb import PUNCTUATION, tokenize

HARD = """\
A dog's ball isn't red, is it? Yes!
can't cannot gonna gotta lemme gimme wanna 'tis 'twas rock'n'roll o'clock ma'am
he'd I'll they've we're I'm dogs' James' don't it's
"hello" 'world' `x` ``y'' and “quoted” ‘single’ don’t
a dog ... runs .. and . . . sits.... ok
$5 US$10 £20 €30 50% 3¢
1 1/2 cups and 3/4 of 1/2
http://www.foo.com/bar?x=1 www.foo.com foo.com foo@bar.com @user #hash
(a) [b] {c} <b>bold</b> a<b
and/or 24/7 he/she/it a / b
well-known t-shirt T-SHIRT -dash dash- - -- --- – — a–b a—b x-y-z a--b
1,000.50 3:30pm 3:30 1st 2nd 10x10 3D 3.5 .5 5. 12/25/2010 555-1234
Mr. Smith met Dr. Jones at St. Mary's. etc.
emoji 🐕 😀 ❤ ★ ™ ® ° café naïve piñata Zürich ½
&amp; &lt; AT&T R&B rock & roll
runs.He ends,here don't.Stop end."Next
o'neil d'artagnan l'amour rock-n-roll 'n' 'em
vitamin C. He went, so do I. Then
!!! ??? ?! !!1 ,, ;; :: a,b a;b a:b a.b e.g. i.e. p.m. U.K.'s
12's 1980's '80s '11 3-year-old 9-to-5 e-mail
中文字符 日本語 العربية русский"""


@pytest.fixture(scope="module")
def stanford(tmp_path_factory):
    """Lines -> tokens of each, by one run of the Java program."""
    if shutil.which("java") is None:
        pytest.skip("no Java here to compare with")
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).with_name("stanford-corenlp-3.4.1.jar")
    folder = tmp_path_factory.mktemp("stanford")

    def run(lines: list[str]) -> list[list[str]]:
        path = folder / "lines.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer"]
        out = subprocess.run(
            [*command, "-preserveLines", "-lowerCase", path], capture_output=True, check=True, timeout=300
        ).stdout.decode()
        return [[w for w in line.rstrip().split(" ") if w and w not in PUNCTUATION] for line in out.split("\n")]

    return run


def assert_same(lines, stanford):
    for line, expected in zip(lines, stanford(lines), strict=False):
        assert tokenize(line) == expected, line


def test_hard_sentences_are_tokenized_as_by_stanford(stanford):
    assert_same(HARD.splitlines(), stanford)


def test_photo_captions_are_tokenized_as_by_stanford(stanford, shared_data):
    path = shared_data / "flickr8k/Flickr8k_text/Flickr8k.token.txt"
    assert_same([line.split("\t")[1] for line in path.read_text(encoding="utf-8").splitlines()], stanford)


def test_video_captions_are_tokenized_as_by_stanford(stanford, shared_data):
    data = json.loads((shared_data / "activitynet/train.json").read_text())
    lines = [text.replace("\n", " ") for video in data.values() for text in video["sentences"]]
    path = shared_data / "msvd/AllVideoDescriptions.txt"
    lines += [line.split(" ", 1)[1] for line in path.read_text().splitlines() if " " in line and line[0] != "#"]
    assert_same(lines, stanford)


def test_captions_in_other_languages_are_tokenized_as_by_stanford(stanford, shared_data):
    lines = []
    for path in sorted((shared_data / "flickr8k/translations").iterdir()):
        lines += [line.split("#", 1)[1].split(maxsplit=1)[1] for line in path.read_text().splitlines() if "#" in line]
    assert_same(lines, stanford)


def test_white_space_and_empty_text():
    assert tokenize("") == tokenize("  \n\t ") == []
    assert tokenize(" a\tb\nc ") == ["a", "b", "c"]
