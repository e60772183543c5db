"""WebSocket URIs (RFC 6455, section 3), and proxies' URIs."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path
from typing import Any

import pytest

from anyio_ws.exceptions import InvalidURI
from anyio_ws.sansio import WebSocketURI, parse_uri
from anyio_ws.sansio.uri import (
    ProxyURI,
    follow,
    parse_proxy,
    same_origin,
    split_target,
    unquote,
    without_credentials,
)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("ws://localhost", WebSocketURI(False, "localhost", 80, "", "")),
        ("ws://localhost/", WebSocketURI(False, "localhost", 80, "/", "")),
        ("wss://localhost/", WebSocketURI(True, "localhost", 443, "/", "")),
        ("WS://LocalHost:8765/Path", WebSocketURI(False, "localhost", 8765, "/Path", "")),
        ("ws://localhost:/", WebSocketURI(False, "localhost", 80, "/", "")),
        ("ws://localhost?a=b&c", WebSocketURI(False, "localhost", 80, "", "a=b&c")),
        ("ws://localhost/p/q?a=b?c", WebSocketURI(False, "localhost", 80, "/p/q", "a=b?c")),
        ("ws://[::1]:9/x", WebSocketURI(False, "::1", 9, "/x", "")),
        ("ws://u:p@h/", WebSocketURI(False, "h", 80, "/", "", "u", "p")),
        ("ws://u%40x:p%3A%C3%A9@h/", WebSocketURI(False, "h", 80, "/", "", "u@x", "p:é")),
        ("ws://u:@h/", WebSocketURI(False, "h", 80, "/", "", "u", "")),
        ("ws://h/a%20b?c%2Fd", WebSocketURI(False, "h", 80, "/a%20b", "c%2Fd")),
        ("ws://h/;p=1/@:!$&'()*+,=~-._", WebSocketURI(False, "h", 80, "/;p=1/@:!$&'()*+,=~-._", "")),
        (
            "wss://höst.example/pfäd?ü=€",
            WebSocketURI(True, "xn--hst-sna.example", 443, "/pf%C3%A4d", "%C3%BC=%E2%82%AC"),
        ),
        ("ws://u:50%off@h/", WebSocketURI(False, "h", 80, "/", "", "u", "50%off")),
        ('ws://h/"<>{}|\\^`', WebSocketURI(False, "h", 80, "/%22%3C%3E%7B%7D%7C%5C%5E%60", "")),
    ],
)  # fmt: skip
def test_a_uri_is_split_into_its_parts(uri: str, parts: WebSocketURI) -> None:
    assert parse_uri(uri) == parts


@pytest.mark.parametrize(
    ("uri", "resource_name", "host_header"),
    [
        ("ws://h", "/", "h"),
        ("ws://h?q", "/?q", "h"),
        ("ws://h/p?q=1", "/p?q=1", "h"),
        ("ws://h/p?", "/p", "h"),
        ("ws://h:81//p", "//p", "h:81"),
        ("ws://h:80/", "/", "h"),
        ("wss://h:443/", "/", "h"),
        ("wss://h:80/", "/", "h:80"),
        ("wss://[::1]:80/", "/", "[::1]:80"),
    ],
)
def test_resource_name_and_host_header_are_what_the_request_needs(
    uri: str, resource_name: str, host_header: str
) -> None:
    assert parse_uri(uri).resource_name == resource_name
    assert parse_uri(uri).host_header == host_header


@pytest.mark.parametrize("uri", [None, 80, b"ws://h/", Path("/run/feed.sock")])
def test_what_is_no_string_is_no_uri(uri: Any) -> None:
    with pytest.raises(TypeError, match=r"^a WebSocket URI must be a string, not "):
        parse_uri(uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "scheme must be ws or wss"),
        ("h", "scheme must be ws or wss"),
        ("//h/", "scheme must be ws or wss"),
        ("http://h/", "scheme must be ws or wss"),
        ("https://h/", "scheme must be ws or wss"),
        ("ws+unix://h/", "ws\\+unix:///path/of/the/socket:/path"),
        ("ws:h", "no host"),
        ("ws:///path", "no host"),
        ("ws://:80/", "no host"),
        ("ws://u:p@/", "no host"),
        ("ws://h/#", "fragment"),
        ("ws://h/p#f", "fragment"),
        ("ws://h#", "fragment"),
        ("ws://h:port/", "port"),
        ("ws://h:65536/", "ort"),
        ("ws://h:-1/", "ort"),
        ("ws://[::1/", "IPv6"),
        ("ws://user@h/", "user name without a password"),
        ("ws://h/a b", "' '"),
        ("ws://h/\r\nInjected: 1", r"'\\r'"),
        ("ws://h\n/", r"'\\n'"),
        ("\tws://h/", r"'\\t'"),
        ("ws://h/\0", r"'\\x00'"),
        ("ws://h/\x7f", r"'\\x7f'"),
        ("ws://h/\udc80", "surrogates"),
        ("ws://h/?\ud800", "surrogates"),
        ("ws://\udc80/", "surrogates"),
        ("ws://u\udc80:p@h/", "surrogates"),
        ("ws://" + "é" * 64 + "/", "host can't be encoded"),
        ("ws://a..é/", "host can't be encoded"),
    ],
)
def test_what_cannot_be_connected_to_is_an_invalid_uri(uri: str, reason: str) -> None:
    with pytest.raises(InvalidURI, match=reason) as caught:
        parse_uri(uri)
    shown = caught.value.uri
    assert shown == (uri if "@" not in uri else "ws://***@" + uri.partition("@")[2])
    assert repr(shown) in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("ws://ada:secret@h/#f", "fragment"),
        ("http://ada:secret@h/", "scheme"),
        ("//ada:secret@h/", "scheme"),
        ("ada:secret@h", "scheme"),
        ("ws://secret@h/", "user name without a password"),
        ("ws://ada:secret@h:port/", "port"),
        ("ws://ada:secret/@h/", "port"),
        ("ws://ada:[secret@h/", "IPv6"),
        ("ws://ada:[secret]@h/", "IPv6"),
        ("ws://ada:secret\u2100@h/", "no host"),
        ("ws://ada:secret\udc80@h/", "surrogates"),
        ("ws://ada:secret#@h/", "port"),
        ("ws://ada:@secret @h/", "' '"),
        ("ws://ada%3Asecret:secret@h/", "colon"),
        ("ws://secret%3A:@h/", "colon"),
        ("ws://ada:secret%0A@h/", "control character"),
        ("ws://ada:secret%ff@h/", "UTF-8"),
        ("ws://secret%ff:@h/", "UTF-8"),
        ("ws://ada:secret@h{/", "no host has '{'"),
        ("ws://ada:secret@" + "é" * 64 + "/", "host can't be encoded"),
        ("ws+unix://ada:secret@h/", "Unix socket"),
    ],
)
def test_an_invalid_uri_does_not_tell_the_credentials(uri: str, reason: str) -> None:
    with pytest.raises(InvalidURI, match=reason) as caught:
        parse_uri(uri)
    error: BaseException | None = caught.value
    assert "***@" in caught.value.uri
    while error is not None:
        told = [str(error), repr(error), *map(repr, error.args), *map(repr, vars(error).values())]
        assert not [one for one in told if "secret" in one or "ada" in one]
        told = traceback.format_exception_only(error)
        assert not [one for one in told if "secret" in one]
        error = error.__cause__ or error.__context__


def test_an_error_shows_a_uri_without_credentials_as_it_is() -> None:
    with pytest.raises(InvalidURI) as caught:
        parse_uri("ws://h:x/y?z#")
    assert caught.value.uri == "ws://h:x/y?z#"


# -- Unix sockets


def unix(path: str, target: str = "", query: str = "", *, secure: bool = False) -> WebSocketURI:
    port = 443 if secure else 80
    return WebSocketURI(secure, "localhost", port, target, query, unix_path=path)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("ws+unix:///run/app.sock", unix("/run/app.sock")),
        ("ws+unix:/run/app.sock", unix("/run/app.sock")),
        ("WS+Unix:///run/App.sock:", unix("/run/App.sock")),
        ("wss+unix:///run/app.sock:/", unix("/run/app.sock", "/", secure=True)),
        ("ws+unix:///run/app.sock:/a:b/c?d=e:f?g", unix("/run/app.sock", "/a:b/c", "d=e:f?g")),
        ("ws+unix:///run/app.sock?d", unix("/run/app.sock", "", "d")),
        ("ws+unix:///a%20b%3Ac%3Fd%25:/e%20f", unix("/a b:c?d%", "/e%20f")),
        ("ws+unix:///caf%C3%A9/é:/é", unix("/café/é", "/%C3%A9")),
    ],
)
def test_a_uri_of_a_unix_socket_has_its_path_and_the_path_of_the_request(
    uri: str, parts: WebSocketURI
) -> None:
    assert parse_uri(uri) == parts
    assert parts.host_header == "localhost"
    assert parse_uri(str(parts)) == dataclasses.replace(parts, path=parts.path or "/")


def test_a_uri_of_a_unix_socket_may_have_credentials() -> None:
    parts = parse_uri("ws+unix://ada:lovelace@/run/app.sock:/feed")
    assert (parts.username, parts.password) == ("ada", "lovelace")
    assert parts.unix_path == "/run/app.sock"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("ws+unix:", "is written as ws\\+unix:///path"),
        ("ws+unix://", "is written as"),
        ("ws+unix:run/app.sock", "is written as"),
        ("wss+unix://run/app.sock", "is written as wss\\+unix:///path"),
        ("ws+unix://%2Frun%2Fapp.sock/feed", "is written as"),
        ("ws+unix://:80/run/app.sock", "is written as"),
        ("ws+unix:///", "that of a file"),
        ("ws+unix:///run/:/feed", "that of a file"),
        ("ws+unix:///run/%00", "that of a file"),
        ("ws+unix:///run/%ff", "UTF-8"),
        ("ws+unix:///run/app.sock:feed", "begin with a slash"),
        ("ws+unix:///run/app.sock:/#f", "fragment"),
        ("unix:///run/app.sock", "scheme"),
    ],
)
def test_what_is_no_uri_of_a_unix_socket_is_refused(uri: str, reason: str) -> None:
    with pytest.raises(InvalidURI, match=reason):
        parse_uri(uri)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://example.com", "example.com", True),
        ("https://example.com", "example.com", True),
        ("HTTP://Example.com", "eXample.com", True),
        ("http://example.com:80", "example.com", True),
        ("http://example.com", "example.com:80", True),
        ("https://example.com", "example.com:443", True),
        ("http://localhost:8765", "localhost:8765", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("http://example.com", "example.com:443", False),
        ("https://example.com", "example.com:80", False),
        ("http://localhost:8765", "localhost:8766", False),
        ("http://localhost:8765", "localhost", False),
        ("http://localhost", "127.0.0.1", False),
        ("http://evil.example", "example.com", False),
        ("http://example.com.evil", "example.com", False),
        ("http://example.com@evil", "example.com", False),
        ("http://sub.example.com", "example.com", False),
        ("null", "example.com", False),
        ("", "example.com", False),
        ("example.com", "example.com", False),
        ("//example.com", "example.com", False),
        ("ftp://example.com", "example.com", False),
        ("file:///example.com", "example.com", False),
        ("http://example.com", "", False),
        ("http://example.com:port", "example.com", False),
        ("http://example.com", "example.com:port", False),
        ("http://[::1", "[::1]", False),
    ],
)
def test_an_origin_is_the_same_when_host_and_port_are(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same


@pytest.mark.parametrize("char", sorted('"<>\\^`{|}%'))
def test_a_character_that_no_host_has_is_refused(char: str) -> None:
    with pytest.raises(InvalidURI, match="no host has"):
        parse_uri(f"ws://exa{char}mple/")


def test_no_host_at_all_is_not_the_same_origin() -> None:
    assert not same_origin("http://", "")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/b?c=/d?e", "/a/b", "?c=/d?e"),
        ("/a?", "/a", "?"),
        ("//a", "//a", ""),
        ("/a://b", "/a://b", ""),
        ("http://h/a/b?c", "/a/b", "?c"),
        ("http://h", "/", ""),
        ("http://h?a=/b", "/", "?a=/b"),
        ("*", "", ""),
        ("h:443", "", ""),
        ("", "", ""),
    ],
)
def test_a_request_target_is_split_into_path_and_query(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("", ""), ("a+b", "a+b"), ("a%20b", "a b"), ("%2f%2F", "//"), ("%e2%82%AC", "€"), ("%2541", "%41")],
)  # fmt: skip
def test_what_is_percent_encoded_is_decoded_once(text: str, meaning: str) -> None:
    assert unquote(text) == meaning


@pytest.mark.parametrize("text", ["%", "a%4", "%zz", "%4g", "%%41", "%+1", "%ff", "%c3", "\ud800"])
def test_what_is_not_percent_encoded_utf_8_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of several kinds
        unquote(text)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("ws://ada:secret@h:1/p?q=a@b", "ws://h:1/p?q=a@b"),
        ("WSS://ada:se@cret@h", "WSS://h"),
        ("ws://ada:secret@h?q", "ws://h?q"),
        ("ws://h/a:b@c", "ws://h/a:b@c"),
        ("ws://[::1]:1/", "ws://[::1]:1/"),
        ("ws+unix://ada:secret@/a@b:/c", "ws+unix:///a@b:/c"),
        ("/p?to=ws://a:b@c", "/p?to=ws://a:b@c"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_a_uri_is_shown_without_credentials(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_uri("ws://ada:secret@h/"))


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("ws://ada:secret@h", "ws://h/"),
        ("wss://[::1]:8443/a?b", "wss://[::1]:8443/a?b"),
        ("ws://höst:80?ü", "ws://xn--hst-sna/?%C3%BC"),
        ("wss+unix://ada:secret@/a%3Ab", "wss+unix:///a%3Ab:/"),
    ],
)
def test_as_a_string_it_is_a_uri_without_credentials(uri: str, text: str) -> None:
    assert str(parse_uri(uri)) == text


# -- where a Location leads


@pytest.mark.parametrize(
    ("uri", "location", "leads_to"),
    [
        ("ws://h/a/b?q", "http://other/c?d", "ws://other/c?d"),
        ("ws://h/a/b?q", "HTTPS://other", "wss://other/"),
        ("wss://h/a/b?q", "https://h:443/c", "wss://h/c"),
        ("ws://h/a/b?q", "ws://other:81/c", "ws://other:81/c"),
        ("ws://h/a/b?q", "WSS://other/c", "wss://other/c"),
        ("ws://h/a/b?q", "//other/c", "ws://other/c"),
        ("wss://h/a/b?q", "//other/c", "wss://other/c"),
        ("wss://h:8443/a/b?q", "/c", "wss://h:8443/c"),
        ("ws://[::1]:81/a/b?q", "/c", "ws://[::1]:81/c"),
        ("ws://h/a/b?q", "c", "ws://h/a/c"),
        ("ws://h/a/b?q", "../c", "ws://h/c"),
        ("ws://h/a/b?q", "?c", "ws://h/a/b?c"),
        ("ws://h/a/b?q", "", "ws://h/a/b?q"),
        ("ws://h/a/b?q", "#f", "ws://h/a/b?q"),
        ("ws://h", "c", "ws://h/c"),
        ("ws://h/", "/c#f?d", "ws://h/c"),
        ("ws://h/", "/ö", "ws://h/%C3%B6"),
        ("ws://h/", "/ö".encode().decode("iso-8859-1"), "ws://h/%C3%B6"),
        ("ws://h/", "/%C3%B6%2F", "ws://h/%C3%B6%2F"),
        ("ws://h/", "http://höst/", "ws://xn--hst-sna/"),
        ("ws+unix:///run/a:/b", "/c?d", "ws+unix:///run/a:/c?d"),
        ("ws+unix:///run/a:/b", "http://localhost/c", "ws+unix:///run/a:/c"),
        ("ws+unix:///run/a:/b", "http://localhost:81/c", "ws://localhost:81/c"),
        ("ws+unix:///run/a:/b", "https://localhost/c", "wss://localhost/c"),
    ],
)
def test_a_location_leads_to_a_websocket_uri(uri: str, location: str, leads_to: str) -> None:
    assert str(follow(parse_uri(uri), location)) == leads_to


@pytest.mark.parametrize(
    ("location", "credentials"),
    [
        ("/b", ("ada", "lovelace")),
        ("http://h/b", ("ada", "lovelace")),
        ("http://h:80/b", ("ada", "lovelace")),
        ("http://grace:hopper@h/b", ("grace", "hopper")),
        ("http://h:81/b", (None, None)),
        ("https://h/b", (None, None)),
        ("http://other/b", (None, None)),
        ("http://grace:hopper@other/b", ("grace", "hopper")),
    ],
)
def test_credentials_are_for_their_own_origin(
    location: str, credentials: tuple[str | None, str | None]
) -> None:
    found = follow(parse_uri("ws://ada:lovelace@h/a"), location)
    assert (found.username, found.password) == credentials


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://h/", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("https://", "no host"),
        ("http://h:x/", "port"),
        ("http://[/", "IPv6"),
        ("/a b", "' '"),
        ("ws+unix:///run/socket", "Unix socket"),
        ("http://ada@h/", "password"),
    ],
)
def test_a_location_that_is_no_place_to_connect_to_is_an_invalid_uri(
    location: str, reason: str
) -> None:
    with pytest.raises(InvalidURI, match=reason):
        follow(parse_uri("ws://h/"), location)


# -- proxies


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://proxy.example", ProxyURI("http", "proxy.example", 80)),
        ("HTTP://Proxy.example/", ProxyURI("http", "proxy.example", 80)),
        ("https://proxy.example", ProxyURI("https", "proxy.example", 443)),
        ("socks4://proxy.example", ProxyURI("socks4", "proxy.example", 1080)),
        ("socks4a://ada@proxy.example:9", ProxyURI("socks4a", "proxy.example", 9, "ada")),
        ("socks5://proxy.example", ProxyURI("socks5", "proxy.example", 1080)),
        ("socks5h://a:b@[::1]", ProxyURI("socks5h", "::1", 1080, "a", "b")),
        ("http://ada@proxy.example:3128", ProxyURI("http", "proxy.example", 3128, "ada")),
        ("http://a:b%40%3A%2F@h:1", ProxyURI("http", "h", 1, "a", "b@:/")),
        ("http://a:@h", ProxyURI("http", "h", 80, "a", "")),
        ("http://a:b@c@h", ProxyURI("http", "h", 80, "a", "b@c")),
        ("http://bücher.example:1", ProxyURI("http", "xn--bcher-kva.example", 1)),
        ("http://:b@h", ProxyURI("http", "h", 80, "", "b")),
        ("http://@h", ProxyURI("http", "h", 80)),
        ("socks5://:@h", ProxyURI("socks5", "h", 1080)),
    ],
)
def test_a_proxys_uri_has_its_parts(uri: str, expected: ProxyURI) -> None:
    assert parse_proxy(uri) == expected


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "no scheme"),
        ("proxy.example:3128", "no scheme"),
        ("//proxy.example", "no scheme"),
        ("a:b://proxy.example", "no scheme"),
        ("ftp://proxy.example", "its scheme is 'ftp'"),
        ("socks://proxy.example", "its scheme is 'socks'"),
        ("http://", "no host"),
        ("http://:3128", "no host"),
        ("http://a:b@", "no host"),
        ("http://h:port", "host or port"),
        ("http://h:65536", "host or port"),
        ("http://[h", "host or port"),
        ("http://h\udc80", "host or port"),
        (f"http://{'ü' * 64}.example", "host or port"),
        ("http://h%20", "host"),
        ("http://h h", "space"),
        ("http://h\r\nX: y", "space"),
        ("http://h/path", "more than"),
        ("http://h?query", "more than"),
        ("http://h#fragment", "more than"),
        ("http://a%3Ab:c@h", "colon"),
        ("socks5://ada@h", "takes both"),
        ("socks5://ada:@h", "takes both"),
        ("socks5://:b@h", "takes both"),
        ("socks5://ü:b@h", "printable ASCII"),
        ("socks5://a:%00@h", "printable ASCII"),
        (f"socks5://a:{'b' * 256}@h", "255"),
        ("socks4://a%00b@h", "printable ASCII"),
        ("socks4a://a:b@h", "SOCKS4 has none"),
    ],
)
def test_what_is_no_proxys_uri_is_a_value_error(uri: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_proxy(uri)


def test_a_proxy_is_shown_without_credentials() -> None:
    proxy = parse_proxy("socks5h://ada:lovelace@[2001:db8::1]:9")
    assert str(proxy) == "socks5h://[2001:db8::1]:9"
    assert repr(proxy) == "ProxyURI(scheme='socks5h', host='2001:db8::1', port=9)"
