"""The Penn Treebank tokenization that caption scores are published with.

pycocoevalcap runs Stanford's PTBTokenizer 3.4.1 (`-preserveLines -lowerCase`) in Java and drops punctuation. This
module does the same in Python: at each position the rule with the longest match applies, the earlier one of equals. The
lookahead of a rule counts towards the length of its match but is not part of the token. In Java the lookahead extends
into the next caption of the file: `vitamin C.` loses its dot if that begins with `A`, `The` and the like. Here it
always does.

Most words consist of letters only and need no rules. Tokens of other segments between spaces are cached, if they do not
depend on the text after the space.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache

# Tokens that pycocoevalcap drops. It also lists -LRB- and the like, but they are lower-cased by then and stay.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# Marks that count as letters within words, besides the letters of Unicode.
_MARKS = (
    "\u0237-\u024f\u02c2-\u02c5\u02d2-\u02df\u02e5-\u036f\u0370-\u037d\u0384\u0385\u03cf\u03f6\u03fc-\u03ff"
    "\u0483-\u0487\u04cf\u04f6-\u04ff\u0510-\u0525\u055a-\u055f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0615-\u061a\u063b-\u063f\u064b-\u065e\u0670\u06d6-\u06ef\u06fa-\u06ff\u070f\u0711\u0730-\u074f\u0750-\u077f"
    "\u07a6-\u07b1\u07ca-\u07f5\u07fa\u0900-\u0903\u093c\u093e-\u094e\u0951-\u0955\u0962\u0963\u0981-\u0983"
    "\u09bc-\u09c4\u09c7\u09c8\u09cb-\u09cd\u09d7\u09e2\u09e3\u0a01-\u0a03\u0a3c\u0a3e-\u0a4f\u0a81-\u0a83"
    "\u0abc-\u0acf\u0b82\u0bbe-\u0bc2\u0bc6-\u0bc8\u0bca-\u0bcd\u0c01-\u0c03\u0c3e-\u0c56\u0d3e-\u0d44\u0d46-\u0d48"
    "\u0e30-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u1885\u1886"
)
# Representatives of all letters, marks and digits that are not ASCII: see _CharacterClasses.
_LETTER, _MARK, _DIGIT = "\u03bb", "\u0300", "\u0663"
_SPACE = " \t\u00a0\u2000-\u200a\u3000"
_SPACE_OR_LINE = _SPACE + "\r\n\u2028\u2029\x0b\x0c\x85"
# Symbols that are tokens by themselves.
_SYMBOLS = (
    r"+%&~\^|\\\u00a6\u00a7\u00a8\u00a9\u00ac\u00ae\u00af\u00b0-\u00b3\u00b4-\u00ba\u00d7\u00f7\u0387\u05be\u05c0\u05c3"
    r"\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060a\u060c\u0614\u061b\u061e\u066a\u066d\u0703-\u070d\u07f6\u07f7\u07f8"
    r"\u0964\u0965\u0e4f\u1fbd\u2016\u2017\u2020-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u207a-\u207f\u208a-\u208e"
    r"\u2100-\u214f\u2190-\u21ff\u2200-\u2bff\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)

_MONTHS_AND_DAYS = "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri"
_STATES = (
    "(?i:ala|ariz|calif|colo|conn|ct|dak|fla|ga|ind|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo)"
    # Abbreviations that are also words need a capital.
    "|A[zZ]|A(?i:rk)|D(?i:el)|I(?i:ll)|L[aA]|M(?i:ass)|M(?i:iss)|O(?i:re)|P[aA]|T(?i:ex)|W(?i:ash)"
)
_COMPANIES = "inc|cos?|corp|ltd|plc|rt|bancorp|bhd|assn|univ|intl|sys"
# Usually followed by a lower-case letter: before a capital they end a sentence.
_ABBREVIATION_1 = (
    rf"(?:(?i:{_MONTHS_AND_DAYS}|{_COMPANIES}|tel|est|ext|sq|jr|sr|bros|(?:ed|ph)\.d|esq|blvd|rd|etc|al|seq|bldg)|{_STATES}"
    r"|(?i:pp?t)[ye][sS]?)\."
)
_ACRONYM = r"(?:[A-Za-z](?:\.[A-Za-z])*|(?i:(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-(?:u\.s\.s\.r|u\.k)))"
_ACRONYM_2 = _ACRONYM.replace(")*", ")+", 1)
# Usually followed by a capital.
_ABBREVIATION_4 = (
    "(?:(?i:mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|capt|ste?|ave|pres|"
    "lieut|hon|brig|co?mdr|pfc|spc|supts?|det|mt|ft|adj|adv|asst|assoc|ens|insp|mlle|mme|msgr|sfc|"
    r"vs|alex|wm|jos|cie|a\.k\.a|cf|treas|ph|invt|elec|natl|dept)|M(?i:iss)|[mM][ft][gG]|" + _ACRONYM + ")"
)
_BEFORE_NUMBERS = r"(?i:ca|figs?|prop|nos?|art|bldg|pp|op)\."
_EXTENSIONS = (
    "bat|bmp|class|cgi|cpp|c|dll|docx|doc|exe|gif|gz|html|htm|h|java|jar|jpeg|jpg|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|"
    "txt|wav|xml|x|zip"
)
_SENTENCE_STARTS = (
    "A(?i:bout|ccording|dditionally|fter|n|s|t)?|B(?i:ut)|E(?i:arlier)|H(?i:ere|er|e|owever)|I(?i:f|n|t)|L(?i:ast)|"
    r"M(?i:any|ore|r\.|s\.)|N(?i:ow)|O(?i:nce|ne|ther|ur)|S(?i:he|ince|ome|o|uch)|T(?i:hat|heir|hen|here|hese|hey|he|his)|"
    "W(?i:e|hen|hile|hat)|Y(?i:et|ou)"
)
_LATEX_RIGHT = {"&apos;": "'", '"': "''", "&quot;": "''"}
_LATEX = {
    "\x91": "`", "\u2018": "`", "\u201b": "`", "\u2039": "`", "\x92": "'", "\u2019": "'", "\u203a": "'",
    "\x93": "``", "\u201c": "``", "\u00ab": "``", "\x94": "''", "\u201d": "''", "\u00bb": "''",
}  # fmt: skip
_FRACTIONS = str.maketrans({"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"})
_CURRENCIES = str.maketrans(
    {"\u00a2": "cents", "\u00a3": "#", "\x80": "$", "\u00a4": "$", "\u20a0": "$", "\u20ac": "$"}
)


def _keep(text: str) -> str:
    return text


def _quote(text: str) -> str:
    for entity, quote in _LATEX_RIGHT.items():
        text = text.replace(entity, quote)
    return "".join(_LATEX.get(character, character) for character in text)


def _soft(text: str) -> str:
    return text.replace("\u00ad", "") or "-"


def _amp(text: str) -> str:
    return re.sub("(?i:&amp;)", "&", text)


def _space(text: str) -> str:
    return text.replace(" ", "\u00a0")


def _paren(text: str) -> str:
    return text.replace("(", "-lrb-").replace(")", "-rrb-")


def _as(token: str) -> Callable[[str], str]:
    return lambda text: token


def _nothing(text: str) -> str:
    return ""


class _CharacterClasses(dict):
    """Maps characters that are not ASCII to a representative for the rules: letters, marks and digits to one each."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        category = unicodedata.category(character)
        representative = code
        if code > 0xFFFF:
            representative = 0xE000  # in no rule
        elif category[0] == "L":
            representative = ord(_LETTER)
        elif category == "Nd" or "\u07c0" <= character <= "\u07c9":
            representative = ord(_DIGIT)
        elif code != 0xAD and _mark().match(character):
            representative = ord(_MARK)
        self[code] = representative
        return representative


_CLASSES = _CharacterClasses({code: code for code in range(128)})


@cache
def _mark() -> re.Pattern:
    return re.compile(f"[{_MARKS}]")


@cache
def _rules() -> list[tuple[Callable, Callable[[str], str]]]:
    """Returns (match, token -> token) in the order of preference. The group t is the token, the rest is lookahead."""
    alpha, digit = "A-Za-z" + _LETTER, "0-9" + _DIGIT
    letter = rf"(?:[{alpha}{_MARK}\u00ad]|&[aeiouAEIOU](?i:acute|grave|uml);)"
    inner = rf"(?:[{alpha}{_MARK}\u00ad{digit}]|&[aeiouAEIOU](?i:acute|grave|uml);)"
    word = rf"{letter}{inner}*(?:[.!?]{letter}{inner}*)*"
    apos = "(?:['\x92\u2019]|(?i:&apos;))"
    apos_etc = "(?:['\x92\u2019`\x91\u2018\u201b]|(?i:&apos;))"
    number = rf"(?:[{digit}]*(?:[.:,\u00ad\u066b\u066c][{digit}]+)+|[{digit}]+)"
    part = rf"(?:[dDoOlL]{apos_etc}[{alpha}{digit}])?[{alpha}{digit}]+"
    thing = rf"{part}(?:[-_\u058a\u2010\u2011]{part})*"
    thing_a = "[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+"
    hyphenated = rf"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(?:-(?:{_ACRONYM_2}\.|[A-Za-z0-9\u00ad]+))+"
    aux = rf"{apos}(?:[msdMSD]|(?i:re|ve|ll))"
    not_word, negation = "[A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*", rf"[nN]{apos_etc}[tT]"
    listed = "[,;:\u3001]"
    name = r"[A-Za-z][A-Za-z0-9_:.\-]*"
    attribute = rf"{name} *= *(?:'[^'\r\n]*'|\"[^\"\r\n]*\")|{name}"
    sgml = rf"<(?:[!?][A-Za-z\-][^>\r\n]*|/{name} *|{name}(?: +(?:{attribute}))* */? *)>"
    url_end = r"[^ \t\n\f\r\"<>|.!?(){},\-]"
    host = r"[^ \t\n\f\r\"<>|.!?(){},]+\."
    path = rf"(?:/[^ \t\n\f\r\"<>|()]+{url_end})?"
    phone = (
        r"(?:\([0-9]{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:[0-9]{2,4}[\- \u00a0])?[0-9]{2,4}[\- \u00a0])"
        r"[0-9]{3,4}[\- \u00a0]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
    )
    slashed = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
    s, n = f"[{_SPACE}]", f"[{_SPACE_OR_LINE}]"
    table = [
        (r"[cC]\+\+|[cCfF]#", "", _keep),
        ("(?i:can)", "(?i:not)", _keep),
        (rf"{apos}[tT]", "(?i:was|is)", _quote),
        ("(?i:gon|wan)", "(?i:na)", _keep),
        ("(?i:got)", "(?i:ta)", _keep),
        ("(?i:lem|gim)", "(?i:me)", _keep),
        (sgml, "", _space),
        ("&(?i:md|mdash|ndash);|[\x96\x97\u2013\u2014\u2015]", "", _as("--")),
        ("(?i:&amp;)", "", _amp),
        ("&(?i:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);", "", _keep),
        (word, aux, _soft),
        (not_word, negation, _soft),
        (word, "", _soft),
        (rf"{apos}[nN]{apos}?|[lLdDjJ]{apos}|(?i:dunkin|somethin|ol){apos}|{apos}(?i:em)", "", _keep),
        (rf"[A-HJ-XZn]{apos_etc}[{alpha}]{{2}}[{alpha}]*", "", _keep),
        (rf"{apos}(?:[2-9]0[sS]|(?i:till?|cause))", "", _keep),
        (rf"[{alpha}]+[aeiouyAEIOUY]{apos_etc}[aeiouA-Z][{alpha}]*", "", _keep),
        (r"(?i:cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)", "", _keep),
        (rf"[yY]{apos}", f"[{alpha}]", _keep),
        (rf"(?i:https?)://[^ \t\n\f\r\"<>|(){{}}]+{url_end}", "", _keep),
        (rf"(?i:www)\.(?:{host})+[a-zA-Z]{{2,4}}{path}", "", _keep),
        (rf"(?:[^ \t\n\f\r\"`'|!(){{}},-_$]+\.)+(?i:com|net|org|edu){path}", "", _keep),
        ("(?:(?i:&lt;)|<)?[a-zA-Z0-9][^ \t\n\f\r\"<>|()\u00a0{}]*@(?:[^ \t\n\f\r\"<>|(){}.\u00a0]+\\.)*"
         "[^ \t\n\f\r\"<>|(){}.\u00a0]+(?:(?i:&gt;)|>)?", "", _keep),
        (rf"@[a-zA-Z_][a-zA-Z_0-9]*|#{letter}+", "", _keep),
        (aux, "[^A-Za-z]", _quote),
        (negation, "[^A-Za-z]", _quote),
        (rf"[{digit}]{{1,2}}[\-/][{digit}]{{1,2}}[\-/][{digit}]{{2,4}}", "", _keep),
        (rf"[\-+]?{number}", "", _soft),
        ("[\u207a\u207b\u208a\u208b]?(?:[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)", "", _keep),
        (rf"(?:[{digit}]{{1,4}}[- \u00a0])?[{digit}]{{1,4}}(?:\\?/|\u2044)[{digit}]{{1,4}}", "", _space),
        ("[\u00bc\u00bd\u00be\u2153-\u215e]", "", lambda text: text.translate(_FRACTIONS)),
        (rf"-(?i:rrb|lrb|rcb|lcb|rsb|lsb)-|(?i:c\.d\.s)|(?i:pro-|anti-)|[sS](?:&|(?i:&amp;))(?:[pP]-500|[lL][sS])|"
         rf"(?i:cap){apos}[nN]|[cC]{apos}(?i:est)", "", _amp),
        (rf"{slashed}(?:\\?/{slashed}){{1,2}}", "", _keep),
        (r"[A-Z]*\$|#", "", _keep),
        ("[\u00a2-\u00a5\x80\u20a0\u20ac\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6]", "",
         lambda text: text.translate(_CURRENCIES)),
        ("[A-Za-z]", rf"\.{n}+(?:{_SENTENCE_STARTS}|{sgml}){n}", _keep),
        (_BEFORE_NUMBERS, rf"{n}?[{digit}]", _keep),
        (_ABBREVIATION_1, r"[\s\S]{2}", _keep),
        (_ABBREVIATION_1, "", _keep),
        (rf"{_ABBREVIATION_4}\.", "", _keep),
        (_ABBREVIATION_4, s, _keep),
        (_ACRONYM, n, _keep),
        (rf"{apos}[0-9][0-9]", n, _keep),
        (rf"[{alpha}{digit}]+(?:\.[{alpha}{digit}]+)*\.(?i:{_EXTENSIONS})", f"(?:{n}|[.?!,])", _keep),
        (rf"{word}\.", listed, _soft),
        (phone, "", lambda text: _paren(_space(text))),
        (r"\"|(?i:&quot;)", "[A-Za-z0-9$]", _as("``")),
        (r"\"|(?i:&quot;)", "", _as("''")),
        ("\x7f", "", _nothing),
        ("<|(?i:&lt;)", "", _as("<")),
        (">|(?i:&gt;)", "", _as(">")),
        (r"[<>]?[:;=][\-o\*']?[()DPdpO\\{@|\[\]]", "[^A-Za-z0-9]", _paren),
        (r"[\^x=~<>]\.\[\^x=~<>]|[\-\^x=~<>']_[\-\^x=~<>']|\([\-\^x=~<>'][_.]?[\-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
         "", _paren),
        (r"\{", "", _as("-lcb-")), (r"\}", "", _as("-rcb-")), (r"\[", "", _as("-lsb-")), (r"\]", "", _as("-rsb-")),
        (r"\(", "", _as("-lrb-")), (r"\)", "", _as("-rrb-")),
        ("-+", "", lambda text: "--" if 3 <= len(text) <= 4 else text),
        ("\\.{3,5}|(?:\\.[ \u00a0]){2,4}\\.|[\x85\u2026]", "", _as("...")),
        (r"@+|#+|_+", "", _keep),
        (r"\*+|(?:\\\*){1,3}", "", _keep),
        (listed, "", _keep),
        ("[?!]+", "", _keep),
        ("[.\u00a1\u00bf\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002]", "", _keep),
        ("=", "", _keep),
        ("/", "", _keep),
        (rf"{hyphenated}\.", listed, _soft),
        (hyphenated, "", _soft),
        (rf"{thing}\.", listed, _keep),
        (thing, "", _keep),
        (rf"{thing_a}\.", listed, _amp),
        (thing_a, "", _amp),
        ("'", "[A-Za-z][^ \t\n\r\u00a0]", _as("`")),
        (aux, "", _quote),
        ("''|[`\u2018\u2019\u201a-\u201f\x91-\x94\u2039\u203a\u00ab\u00bb]{1,2}|['\x92\u2019]|(?i:&apos;)", "", _quote),
        ("<<|>>", "", _keep),
        (f"[{_SYMBOLS}]", "", _keep),
        (rf"\x00|{s}+|[\u200b\u200e\u200f\ufeff]|{n}|(?i:&nbsp;)", "", _nothing),
    ]  # fmt: skip
    return [(re.compile(f"(?P<t>{token})(?:{context})").match, action) for token, context, action in table]


# Segments of letters that are two tokens, in lower case.
_TWO_WORDS = frozenset(["cannot", "gonna", "wanna", "gotta", "lemme", "gimme"])
_WORD = re.compile(r"([A-Za-z]{2,})([.,!?;:]?)")
_DOTTED = re.compile(rf"{_ABBREVIATION_1}|{_ABBREVIATION_4}\.|{_BEFORE_NUMBERS}")
# Text with tokens that may contain spaces: tags, dots separated by spaces, numbers in parts.
_SPACED = re.compile(r"<|\. \.|[.\d)] \d|[^\S ]")


def tokenize(text: str) -> list[str]:
    """Returns lower-cased Penn Treebank tokens without punctuation.

    >>> tokenize("A dog's ball isn't (very) red.")
    ['a', 'dog', "'s", 'ball', 'is', "n't", '-lrb-', 'very', '-rrb-', 'red']
    """
    text = text.replace("\n", " ")
    if _SPACED.search(text):
        return _line(text)
    tokens: list[str] = []
    for segment in text.split(" "):
        if segment:
            segment_tokens = _segment(segment)
            if segment_tokens is None:
                return _line(text)
            tokens += segment_tokens
    return tokens


@lru_cache(maxsize=1 << 18)
def _segment(segment: str) -> tuple[str, ...] | None:
    """Returns the tokens of a segment between spaces, or None if they depend on the text after the space."""
    word = _WORD.fullmatch(segment)
    if word and word[1].lower() not in _TWO_WORDS and not (word[2] == "." and _DOTTED.fullmatch(segment)):
        return (word[1].lower(),)
    at_end, within = _line(segment), _line(segment, following=" other")
    return tuple(at_end) if at_end == within else None


def _line(text: str, *, following: str = "\nA caption") -> list[str]:
    """Returns the tokens of a line by the rules alone; `following` is the text after it."""
    tokens, position, rules, length = [], 0, _rules(), len(text)
    action: Callable[[str], str]
    classes = (text if text.isascii() else text.translate(_CLASSES)) + following
    while position < length:
        stop, end, action = position, position + 1, _nothing  # characters without a rule are dropped
        for match, rule_action in rules:
            matched = match(classes, position)
            if matched and matched.end() > stop:
                stop, end, action = matched.end(), matched.end("t"), rule_action
        if token := action(text[position:end]).lower():
            tokens.append(token)
        position = end
    if tokens:
        tokens[-1] = tokens[-1].rstrip()  # pycocoevalcap strips lines, including no-break spaces
    return [token for token in tokens if token and token not in PUNCTUATION]
