"""API keys, rates and origins."""

import hmac

import pytest

from capjax.serve import access
from capjax.serve.access import ApiKeys, RateLimit, check_origin
from capjax.serve.errors import ApiError

KEYS = {"ann": "a" * 20, "bob": "b" * 20}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEYS['bob']}"}, {"authorization": f"bearer  {KEYS['bob']} "},
        {"x-api-key": KEYS["bob"]}, {"authorization": "Basic abc", "x-api-key": KEYS["bob"]},
    ],
)  # fmt: skip
def test_a_key_has_an_owner(headers):
    assert ApiKeys(KEYS).owner(headers) == "bob"


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": "Bearer"}, {"authorization": ""}, {"x-api-key": ""}, {"x-api-key": "a" * 19},
        {"authorization": f"Basic {KEYS['bob']}"}, {"authorization": f"Bearer {KEYS['bob']}x"}, {"x-api-key": "\xff"},
        {"authorization": "Bearer bob"},
    ],
)  # fmt: skip
def test_another_key_is_refused_and_not_repeated(headers):
    with pytest.raises(ApiError) as raised:
        ApiKeys(KEYS).owner(headers)
    assert (raised.value.status, raised.value.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert not any(value and value in str(raised.value) for value in headers.values() if value != "Bearer")


def test_every_key_is_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((a, b))
        return hmac_compare(a, b)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    keys = ApiKeys(KEYS)
    for key in (KEYS["ann"], KEYS["bob"]):
        compared.clear()
        keys.owner({"x-api-key": key})
        assert len(compared) == len(KEYS), "no comparison is left out after the right key"
        assert all(len(a) == len(b) == 32 for a, b in compared), "digests are compared, not keys"


def test_the_keys_are_not_kept():
    assert "a" * 20 not in repr(vars(ApiKeys(KEYS)))


def test_keys_are_read_from_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# the team\nann  aaaaaaaaaaaaaaaaaaaa\n\nbob\tbbbbbbbbbbbbbbbbbbbb  \n")
    keys = ApiKeys.read(path)
    assert keys.required and keys.owner({"x-api-key": KEYS["bob"]}) == "bob"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann secret", ":1: .*16"), ("# a\nann", ":2: "), ("ann aaaaaaaaaaaaaaaaaaaa b", ":1: "), ("", "no key"),
        ("ann aaaaaaaaaaaaaaaaaaaa\nann bbbbbbbbbbbbbbbbbbbb", ":2: a second key of 'ann'"),
    ],
)  # fmt: skip
def test_an_error_in_a_file_of_keys_names_the_line_and_no_key(tmp_path, text, message):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        ApiKeys.read(path)
    assert not any(word in str(raised.value) for word in text.split() if len(word) > 5)


def test_a_client_may_send_the_requests_of_ten_seconds_at_once_and_then_so_many_per_minute():
    now = [0.0]
    rates = RateLimit(60, clock=lambda: now[0])
    for _ in range(10):
        rates.check("ann")
    with pytest.raises(ApiError) as raised:
        rates.check("ann")
    assert (raised.value.status, raised.value.headers["Retry-After"]) == (429, "2")
    rates.check("bob")
    admitted = 0
    for _ in range(600):
        now[0] += 0.1
        try:
            rates.check("ann")
        except ApiError:
            continue
        admitted += 1
    assert admitted == 60


def test_a_slow_rate_admits_one_request_and_says_when_the_next_may_come():
    now = [0.0]
    rates = RateLimit(1, clock=lambda: now[0])
    rates.check("ann")
    with pytest.raises(ApiError) as raised:
        rates.check("ann")
    now[0] += float(raised.value.headers["Retry-After"])
    rates.check("ann")


def test_the_rates_of_many_clients_take_bounded_memory():
    rates = RateLimit(60)
    for number in range(access._MAX_CLIENTS + 100):
        rates.check(str(number))
    assert len(rates._buckets) == access._MAX_CLIENTS


def test_without_a_limit_nothing_is_counted():
    rates = RateLimit(0)
    for _ in range(1000):
        rates.check("ann")
    assert not rates._buckets


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "a.org"}, {"origin": "https://a.org", "host": "a.org"},
        {"origin": "http://a.org:8000", "host": "a.org:8000"}, {"origin": "https://friend.org", "host": "a.org"},
        {"origin": "https://a.org", "host": "10.0.0.1:8000", "x-forwarded-host": "a.org"},
    ],
)  # fmt: skip
def test_programs_and_pages_of_the_server_or_of_a_friend_may_ask(headers):
    check_origin(headers, ["https://friend.org"])


@pytest.mark.parametrize(
    "origin", ["https://evil.org", "null", "https://a.org.evil.org", "http://a.org:81", "", "http://[", "a.org", "://"]
)
def test_pages_of_other_origins_may_not_ask(origin):
    with pytest.raises(ApiError) as raised:
        check_origin({"origin": origin, "host": "a.org"}, ["https://friend.org"])
    assert raised.value.status == 403
