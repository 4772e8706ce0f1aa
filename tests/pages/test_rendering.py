"""Pages: what they show is text, nothing is loaded from elsewhere, and only their own scripts run."""

import base64
import hashlib
import json
import re

import pytest

from capjax.pages import rendering
from tests.helpers.pictures import encode, picture

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 ' \" & "


@pytest.fixture
def render(monkeypatch):
    """Renders a template that is given as text, with access to those of the package."""
    import jinja2

    def render(text: str, scripts=(), **values) -> str:
        environment = rendering._environment().overlay()
        files = jinja2.FileSystemLoader(rendering._FOLDER / "templates")
        environment.loader = jinja2.ChoiceLoader([jinja2.DictLoader({"test.html": text}), files])
        monkeypatch.setattr(rendering, "_environment", lambda: environment)
        return rendering.render("test.html", scripts=scripts, **values)

    return render


def test_values_are_text_and_never_markup(render):
    text = render('{% extends "base.html" %}{% block content %}<p title="{{ v }}">{{ v }}</p>{% endblock %}',
                  title=HOSTILE, v=HOSTILE)  # fmt: skip
    assert "<script>" not in text
    assert text.count("&lt;/script&gt;") == 8, "in the title, the heading, an attribute and a paragraph, twice each"


def test_json_cannot_end_its_script_and_is_read_back_unchanged(render):
    value = {"b": [HOSTILE, "ä"], "a": {"</SCRIPT": None}}
    script = '<script type="application/json">{{ v|tojson }}</script>'
    text = render(f'{{% extends "base.html" %}}{{% block content %}}{script}{{% endblock %}}', title="t", v=value)
    (embedded,) = re.findall(r"<script type=\"application/json\">(.*?)</script", text, re.IGNORECASE | re.DOTALL)
    assert "<" not in embedded
    assert json.loads(embedded) == value
    assert list(json.loads(embedded)) == ["b", "a"], "keys keep their order"


def test_values_that_json_does_not_have_are_errors(render):
    with pytest.raises(ValueError, match="not JSON compliant"):
        render("{{ v|tojson }}", v=float("nan"))


def test_a_missing_value_is_an_error(render):
    with pytest.raises(Exception, match="'v' is undefined"):
        render("{{ v }}")


def test_the_policy_allows_data_and_the_scripts_of_the_page_alone(render):
    text = render('{% extends "base.html" %}', scripts=["tables.js"], title="t")
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    directives = dict(directive.split(" ", 1) for directive in policy.replace("&#39;", "'").split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert directives["script-src"] == f"'sha256-{digest}'"
    assert "script-src &#39;none&#39;" in render('{% extends "base.html" %}', title="t")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_picture_becomes_a_data_uri_of_its_format(kind):
    data = encode(picture(8, 8), kind)
    head, _, body = rendering.data_uri(data).partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    assert base64.b64decode(body) == data


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"RIFF____WAVE"])
def test_other_files_are_no_pictures(data):
    with pytest.raises(ValueError, match="pages show JPEG, PNG, GIF and WebP"):
        rendering.data_uri(data)
