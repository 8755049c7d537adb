"""Loopback is reached without a proxy, by every client; a message names the proxy that is in the way."""

import httpx
import pytest
import requests.utils

from sacpipe.core.proxies import proxy_advice, without_proxy_on_loopback

PROXY = "http://proxy.example:3128"
LOCAL = ("http://127.0.0.1:8123/api", "http://localhost:8123/api", "http://[::1]:8123/api")


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": PROXY},
        {"http_proxy": PROXY, "no_proxy": ""},
        {"ALL_PROXY": PROXY, "NO_PROXY": "internal.example"},
        {"http_proxy": PROXY, "NO_PROXY": "internal.example"},
        {"http_proxy": PROXY, "no_proxy": "internal.example", "NO_PROXY": "another.example"},
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"},
    ],
)
@pytest.mark.parametrize("url", LOCAL)
def test_loopback_is_reached_without_a_proxy(monkeypatch, variables, url):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (variables | without_proxy_on_loopback(variables)).items():
        monkeypatch.setenv(name, value)
    assert requests.utils.get_environ_proxies(url) == {}
    with httpx.Client() as client:
        assert client._transport_for_url(httpx.URL(url)) is client._transport


def test_the_operators_own_exceptions_stay():
    found = without_proxy_on_loopback({"HTTP_PROXY": PROXY, "NO_PROXY": "internal.example, 127.0.0.1"})
    assert found["NO_PROXY"] == "internal.example,127.0.0.1,localhost,::1"
    assert found["no_proxy"] == found["NO_PROXY"]
    assert without_proxy_on_loopback({"HTTP_PROXY": PROXY, "NO_PROXY": "*"})["NO_PROXY"] == "*"


@pytest.mark.parametrize("variables", [{}, {"HTTP_PROXY": ""}, {"NO_PROXY": "internal.example"}])
def test_without_a_proxy_nothing_is_set(variables):
    assert without_proxy_on_loopback(variables) == {}


def test_advice_names_the_variables_and_never_their_secrets():
    variables = {"HTTP_PROXY": "http://me:secret@proxy.example", "https_proxy": PROXY}
    advice = proxy_advice("http://ledger.example:5000", variables)
    assert "HTTP_PROXY and https_proxy" in advice
    assert "NO_PROXY=ledger.example" in advice
    assert "secret" not in advice
    assert proxy_advice("http://ledger.example:5000", variables | {"no_proxy": "ledger.example"}) == ""
    assert proxy_advice("http://127.0.0.1:5000", variables) == ""
    assert proxy_advice("sqlite:////a/mlflow.db", variables) == ""
    assert proxy_advice("http://ledger.example:5000", {}) == ""
