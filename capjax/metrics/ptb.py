"""The Penn Treebank tokenization that caption scores are published with.

pycocoevalcap runs Stanford's PTBTokenizer 3.4.1 (`-preserveLines -lowerCase`) in Java and drops punctuation. This is
the same in Python: a lexer that takes the longest of its rules at each place, the earlier one among equals. White
space ends a token, except inside a few numbers, so tokens are cached by the piece of text between spaces.
"""

import re
import unicodedata
from functools import lru_cache

# What pycocoevalcap drops. Its -LRB- and the like never match: the text has been lower-cased to -lrb- by then.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# What a character becomes when it is a token of its own.
_SINGLE = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "\u00a3": "#", "\u20ac": "$", "\u00a2": "cents", "\u00a4": "$", "\u20a0": "$",
    "\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3",
    '"': "''", "\u201c": "``", "\u201d": "''", "\u00ab": "``", "\u00bb": "''",
    "\u2018": "`", "\u2019": "'", "\u201b": "`", "\u2039": "`", "\u203a": "'",
    "\u2026": "...", "\u2013": "--", "\u2014": "--", "\u2015": "--", "\u2010": "-", "\u2011": "-",
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "''", "&apos;": "'",
}  # fmt: skip
# The same inside a longer token.
_INSIDE = str.maketrans(
    {"(": "-lrb-", ")": "-rrb-", "\u2019": "'", "\u2018": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None}
)

# Control, format, unassigned and private characters, enclosing marks, letter-like numerals.
_NO_RULE = frozenset(["Cc", "Cf", "Cn", "Co", "Cs", "Me", "Nl"])

_A = r"['\u2019]"  # apostrophe
_M = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd"
    "\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
_L = rf"(?:[^\W\d_]|[{_M}])"
_LD = rf"(?:[^\W_]|[{_M}])"
_END = rf"(?!{_LD})"
_WORD = rf"{_L}{_LD}*(?:[.!?]{_L}{_LD}*)*"
_PART = rf"(?:(?:[cCdDlLnNoO]|[qQ]u|[qQ]uelqu){_A}{_L})?{_LD}+"
_THING = rf"{_PART}(?:[-\u2010\u2011]{_PART})*"
_NUM = r"(?:\d*(?:[.:,\u00ad]\d+)+|\d+)"
_AUX = rf"{_A}(?:[msdMSD]|re|ve|ll|RE|VE|LL)"
_URL_END = r"[^\s\"<>|.!?(){},\-]"
# Abbreviations that keep their period: months, days, titles, companies and places, however they are written ...
_ABBREVIATION = (
    r"(?i:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|"
    r"mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|mt|capt|ste?|ave|pres|"
    r"lieut|hon|brig|co?mdr|pfc|spc|supts?|det|assn|corp|co|inc|jr|sr|ltd|bros|bldg|blvd|rd|dept|univ|esq|est|etc|vs|ft|al|"
    r"ariz|az|ark|calif|colo|conn|ct|dak|del|fla|ga|ind|kans?|ky|md|mich|minn|mont|neb|nev|okla|pa|penn|tenn|tex|va|vt|"
    r"wisc?|wyo)|"
    # ... and places that are words when they have no capital.
    r"(?:Ala|ALA|Ill|ILL|La|LA|Mass|MASS|Miss|MISS|Ore|ORE|Wash|WASH)"
)
# Words that begin a sentence: a single capital and its period before one of them part.
_STARTS = (
    "A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Mr|Ms|Now|Once|"
    "One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|To|We|What|When|While|Yet|You"
)

# Longest match wins; the token is the group t, what follows it in the pattern is context that counts for the length.
_RULES = [
    re.compile(pattern)
    for pattern in (
        r"(?P<t><(?:[!?][A-Za-z\-][^>]*|/?[A-Za-z][A-Za-z0-9_:.\-]*(?:\s[^>]*)?/?)>)",
        r"(?P<t>&(?:amp|lt|gt|quot|apos|nbsp);)",
        rf"(?P<t>[cC][aA][nN])[nN][oO][tT]{_END}",
        rf"(?P<t>[gG]on|[wW]an)na{_END}",
        rf"(?P<t>[gG]ot)ta{_END}",
        rf"(?P<t>[lL]em|[gG]im)me{_END}",
        rf"(?P<t>{_A}[tT])(?:is|was|IS|WAS){_END}",
        rf"(?P<t>{_L}{_LD}*?)[nN]{_A}[tT]s?{_END}",
        rf"(?P<t>[nN]{_A}[tT]s?){_END}",
        rf"(?P<t>{_WORD}|{_THING}){_AUX}{_END}",
        rf"(?P<t>{_AUX}){_END}",
        rf"(?P<t>{_A}n{_A}?|[lLdDjJ]{_A}|Dunkin{_A}|somethin{_A}|ol{_A}|{_A}em|{_A}[0-9]{{2}}s?{_END})",
        rf"(?P<t>[cC]{_A}mon|{_A}cause|[oO]{_A}clock|[mM]a{_A}am|[dD]{_A}ye){_END}",
        rf"(?P<t>[yY]{_A}){_L}",
        r"(?P<t>(?:https?|ftp)://[^\s\"<>|()]+" + _URL_END + ")",
        rf"(?P<t>www\.(?:[^\s`\"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}(?:/[^\s`\"<>|()]*{_URL_END})?)",
        rf"(?P<t>(?:[^\s`\"<>|.!?(){{}},\-_$/']+\.)+(?:com|net|org|edu)(?:/[^\s`\"<>|()]*{_URL_END})?){_END}",
        r"(?P<t>[a-zA-Z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+)",
        r"(?P<t>@[a-zA-Z_][a-zA-Z_0-9]*)",
        rf"(?P<t>#{_L}+)",
        rf"(?P<t>{_WORD})",
        rf"(?P<t>{_THING})",
        r"(?P<t>[A-Z]+(?:[+&][A-Z]+)+)",
        r"(?P<t>[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2})",
        r"(?P<t>[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z]\.(?![A-Za-z]))",
        rf"(?P<t>(?:{_ABBREVIATION}|Ph\.D)\.)",
        # Before a number; `tokenize` marks those.
        r"(?P<t>(?:[nN]os?|[aA]rt|[fF]igs?|pp?)\.)\ue000",
        r"(?P<t>(?:\d{1,4}[- \u00a0])?\d{1,4}/\d{1,4})",
        r"(?P<t>\d{1,2}[\-/]\d{1,2}[\-/]\d{2,4})",
        r"(?P<t>(?:\(\d{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:\d{2,4}[- \u00a0])?\d{2,4}[- \u00a0])"
        r"\d{3,4}[- \u00a0]?\d{3,5})",
        rf"(?P<t>[-+]?{_NUM}|\({_NUM}\))",
        r"(?P<t>(?:US|A|C|HK|NZ|S|M)\$)",
        r"(?P<t>[:;=][-o\']?[()DPp]|[xX]D|\^_\^|-_-)(?!\w)",
        r"(?P<t>[!?]+|\.\.\.|-{2,4}|-{5,}|\*+|_+|''|``)",
        rf"(?P<t>{_LD}+(?:_{_LD}+)+)",
    )
]
# A mark for the lexer, which sees no further than a space: an abbreviation that is one only before a number.
_NUMBERED = re.compile(r"(?<!\w)((?:[nN]os?|[aA]rt|[fF]igs?|pp?)\.)(?= \d)")
_LONE_CAPITAL = re.compile(rf"(?<![\w.])([A-Z])\.(?=\s*$|\s+(?:{_STARTS})\b)")
# Numbers that go on across a space: "1 1/2", "555 123 4567".
_SPACED = re.compile(r"(?<![\w/])(\d{1,4}) (?=\d{1,4}/\d{1,4})|(\(\d{2,3}\)) (?=\d{3,4}-?\d{3,5})")
_PLAIN = re.compile(r"[A-Za-z]+")
_ODD = frozenset(["cannot", "gonna", "wanna", "gotta", "lemme", "gimme"])


@lru_cache(maxsize=1 << 18)
def _lex(piece: str) -> tuple[str, ...]:
    """The tokens of a piece of text without spaces, punctuation dropped."""
    if _PLAIN.fullmatch(piece) and piece.lower() not in _ODD:
        return (piece.lower(),)
    tokens, at = [], 0
    while at < len(piece):
        end, stop = at + 1, at + 1
        for rule in _RULES:
            match = rule.match(piece, at)
            if match and match.end() > stop:
                end, stop = match.end("t"), match.end()
        text = piece[at:end]
        at = end
        if len(text) == 1 and (text > "\uffff" or unicodedata.category(text) in _NO_RULE):
            continue  # Stanford's lexer has no rule for it and leaves it out
        if text == "\ue000" or re.fullmatch("-{2,4}", text):
            continue
        token = _SINGLE.get(text) or text.translate(_INSIDE).lower()
        if token not in PUNCTUATION:
            tokens.append(token)
    return tuple(tokens)


def tokenize(text: str) -> list[str]:
    """Lower-cased Penn Treebank tokens without punctuation.

    >>> tokenize("A dog's ball isn't (very) red.")
    ['a', 'dog', "'s", 'ball', 'is', "n't", '-lrb-', 'very', '-rrb-', 'red']
    """
    text = _SPACED.sub(lambda m: (m[1] or m[2]) + "\u00a0", text)
    text = _LONE_CAPITAL.sub(r"\1 .", _NUMBERED.sub("\\1\ue000", text))
    tokens: list[str] = []
    # Not str.split(): a no-break space is part of a token.
    for piece in re.split(r"[ \t\n\r\f\v]+", text):
        if piece:
            tokens += _lex(piece)
    return tokens
