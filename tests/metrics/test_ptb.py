"""The tokenizer against Stanford's Java program, as pycocoevalcap runs it."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from capjax.metrics.ptb import PUNCTUATION, _line, tokenize

HARD = """\
A dog's ball isn't red, is it? Yes!
can't cannot gonna gotta lemme gimme wanna 'tis 'twas rock'n'roll o'clock ma'am
he'd I'll they've we're I'm dogs' James' don't it's
"hello" 'world' `x` ``y'' and “quoted” ‘single’ don’t
a dog ... runs .. and . . . sits.... ok
$5 US$10 £20 €30 50% 3¢
1 1/2 cups and 3/4 of 1/2
http://www.foo.com/bar?x=1 www.foo.com foo.com foo@bar.com @user #hash
(a) [b] {c} <b>bold</b> a<b <a href="x y"> <br /> <x y=z>
and/or 24/7 he/she/it a / b
well-known t-shirt T-SHIRT -dash dash- - -- --- – — a–b a—b x-y-z a--b -----
1,000.50 3:30pm 3:30 1st 2nd 10x10 3D 3.5 .5 5. 12/25/2010 555-1234 (555) 123-4567
Mr. Smith met Dr. Jones at St. Mary's. etc. No. 5, no. five, fig. 3, Ill. ill. mass. a.k.a. Ph.D.
emoji 🐕 😀 ❤️ ★ ™ ® ° café naïve piñata Zürich ½ 3½ x² 👨‍👩‍👧 🇩🇪
&amp; &lt; &nbsp; &#39; &mdash; AT&T R&B S&P-500 rock & roll
runs.He ends,here don't.Stop end."Next
o'neil d'artagnan l'amour rock-n-roll 'n' 'em ’Nov O’Brien Shi'ite Hawai'i 'til y'all
vitamin C. He went, so do I. Then plan B. two
!!! ??? ?! !!1 ,, ;; :: a,b a;b a:b a.b e.g. i.e. p.m. U.K.'s U.S.-based anti-U.S.
12's 1980's '80s '11 3-year-old 9-to-5 e-mail 6' 5'10" 5"
:) :-( ;D =P <3 ^_^ xD C++ c# << >> @@ ## -LRB- file.txt 1.c
中文字符 日本語 العربية русский ไทย"""


@pytest.fixture(scope="module")
def stanford(tmp_path_factory):
    """Lines -> tokens of each, by one run of the Java program. Each line is followed by one that begins with `A`."""
    if shutil.which("java") is None:
        pytest.skip("no Java here to compare with")
    ptbtokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    jar = Path(ptbtokenizer.__file__).with_name("stanford-corenlp-3.4.1.jar")
    folder = tmp_path_factory.mktemp("stanford")

    def run(lines: list[str]) -> list[list[str]]:
        path = folder / "lines.txt"
        path.write_text("".join(f"{line}\nA caption\n" for line in lines), encoding="utf-8")
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer"]
        out = subprocess.run(
            [*command, "-preserveLines", "-lowerCase", path], capture_output=True, check=True, timeout=300
        ).stdout.decode()
        rows = out.split("\n")[: 2 * len(lines) : 2]
        return [[word for word in line.rstrip().split(" ") if word and word not in PUNCTUATION] for line in rows]

    return run


def assert_same(lines, stanford):
    expected = stanford(lines)
    different = [
        (line, tokenize(line), tokens) for line, tokens in zip(lines, expected, strict=True) if tokenize(line) != tokens
    ]
    assert not different, f"{len(different)} of {len(lines)} differ: {sorted(different, key=lambda d: len(d[0]))[:3]}"


def test_hard_sentences_are_tokenized_as_by_stanford(stanford):
    assert_same(HARD.splitlines(), stanford)


PIECES = """
can't cannot gonna gotta lemme gimme wanna 'tis 'twas rock'n'roll 'n' o'clock ma'am y'all d'ye O'Brien don’t dogs' it's
"hello" 'world' `x` ``y'' “quoted” ‘single’ « » .. ... .... . … $5 US$10 £20 €30 3¢ 50% 1 1/2 3/4 ½ 3½ 1/2/2003
12-25-2010 Nov. 3rd 9/11 http://www.foo.com/bar?x=1 www.foo.com foo.com foo@bar.com @user #hash #1 (a) [b] {c} <b> a<b
<br/> and/or 24/7 he/she/it well-known T-SHIRT -dash dash- - -- --- – — a–b a--b 1,000.50 3:30pm 3:30 1st 10x10 3.5 .5
5. 555-1234 (555) 123-4567 Mr. Dr. St. U.S. a.m. p.m. Inc. etc. e.g. i.e. Ph.D. No. no. fig. pp. vs. 🐕 ❤️ 👨‍👩‍👧 🇩🇪 👍🏽
★ ° café naïve Zürich &amp; &lt; &nbsp; AT&T R&B & + = * ** _ __ a_b ~ ^ | \\ / :) :-) ;) :D <3 ! !! ?! ? , ; : ,, a,b
a:b U.K.'s 12's 1980's '80s '11 3-year-old e-mail 中文 العربية ไทย the man A dog I The He Word WORD x y 10 100,000 v2.0
C++ c# A+ anti-U.S. ok. end.Next U.S.-based Jan. Calif. Mass. mass. ill. ft. lbs. in. 6' 5'10" 5" '' " ' ` ,' .' !"
(see) a) (b ;a 'a a' "a a" 's 't n't 'll 'em ol' 'cause c'mon l'amour qu'il she's/he's a...b …so -5 +5 -$5 5$ 5-10 5–10
5:1 %5 a@b a@b.c.d https://x.y/z?q=1&r=2. <a -> && a&b Q&A file.txt
"""
SPACES = ["\xa0", "\u2003", "\t", "\u200b", "\ufeff", "\xad", "soft\xadhyphen", "e\u0301"]
CHARACTERS = "abcAB12 .,'-/&:$%\"`’“()!?_@#;*éß<>=+~^|[]{}"


def made_up(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    pieces = [*PIECES.split(), *SPACES]

    def line() -> str:
        kind = rng.random()
        if kind < 0.5:
            return " ".join(rng.choice(pieces) for _ in range(rng.randint(1, 7)))
        if kind < 0.75:
            return "".join(rng.choice(pieces) + rng.choice(["", " ", " "]) for _ in range(rng.randint(1, 6)))
        return "".join(rng.choice(CHARACTERS) for _ in range(rng.randint(1, 14)))

    return [line() for _ in range(count)]


def test_made_up_captions_are_tokenized_as_by_stanford(stanford):
    assert_same(made_up(0, 5000), stanford)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_many_made_up_captions_are_tokenized_as_by_stanford(stanford, seed):
    assert_same(made_up(seed, 20_000), stanford)


def test_segments_tokenized_one_by_one_are_those_of_the_line():
    for line in made_up(7, 3000):
        assert tokenize(line) == _line(line), line


def test_photo_captions_are_tokenized_as_by_stanford(stanford, shared_data):
    path = shared_data / "flickr8k/Flickr8k_text/Flickr8k.token.txt"
    assert_same([line.split("\t")[1] for line in path.read_text(encoding="utf-8").splitlines()], stanford)


def test_video_captions_are_tokenized_as_by_stanford(stanford, shared_data):
    lines = []
    for name in ("activitynet", "youcook2"):
        data = json.loads((shared_data / name / "train.json").read_text(encoding="utf-8"))
        lines += [" ".join(text.split("\n")) for video in data.values() for text in video["sentences"]]
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
