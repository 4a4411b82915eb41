"""Origins and request heads."""

import pytest

from smartoken.errors import ConfigError
from smartoken.upstream.origin import Origin, render_head


def test_an_origin_has_the_default_port_of_its_scheme():
    assert Origin.of("https://api.test/v1")[:3] == ("https", "api.test", 443)
    assert Origin.of("http://[::1]:8000/v1")[:3] == ("http", "::1", 8000)
    assert str(Origin.of("http://[::1]:8000/v1").url) == "http://[::1]:8000"


@pytest.mark.parametrize("url", ["ftp://a.test", "api.test/v1", "https://", "file:///etc/passwd", ""])
def test_what_is_no_http_url_is_refused(url):
    with pytest.raises(ConfigError):
        Origin.of(url)


def test_a_proxy_must_speak_http():
    with pytest.raises(ConfigError):
        Origin.of("https://api.test", proxy="socks5://127.0.0.1:1")


def test_a_head_ends_before_the_length():
    head = render_head("POST", "/v1/chat?a=b", "api.test", [("Authorization", "Bearer k"), (b"X-Y", "é")])
    assert head == (b"POST /v1/chat?a=b HTTP/1.1\r\nHost: api.test\r\nAccept-Encoding: identity\r\n"
                    b"Authorization: Bearer k\r\nX-Y: \xc3\xa9\r\nContent-Length: ")


@pytest.mark.parametrize("bad", [
    {"path": "/a b"}, {"path": "/a\r\nX: y"}, {"host": "a\r\nX: y"}, {"headers": [("X", "a\r\nY: b")]},
    {"headers": [("X\r\nY", "b")]}, {"headers": [("X", "a\0")]}, {"headers": [("", "a")]}, {"headers": [("Host", "b")]},
    {"headers": [("Content-Length", "5")]}, {"headers": [("transfer-encoding", "chunked")]}])
def test_nothing_can_smuggle_a_line_into_a_head(bad):
    arguments = {"method": "POST", "path": "/", "host": "api.test", "headers": []} | bad
    with pytest.raises(ValueError):
        render_head(**arguments)
