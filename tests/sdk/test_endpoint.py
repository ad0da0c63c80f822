"""The endpoint of a server, from a URL, a key and the environment."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from stepwell.errors import SettingError
from stepwell.settings import Settings, resolve
from stepwell.transport import http
from stepwell.transport.endpoint import Endpoint, authorization, shown


def of(url: str, **environment: str) -> Endpoint:
    return Endpoint.of(url, environment=environment)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://host", ("http", "host", 80, "")),
        ("https://host/", ("https", "host", 443, "")),
        ("https://Host.example:8443/team/stepwell/", ("https", "host.example", 8443, "/team/stepwell")),
        ("http://[::1]:8770", ("http", "::1", 8770, "")),
        ("http://127.0.0.1:8770", ("http", "127.0.0.1", 8770, "")),
    ],
)
def test_parts_of_a_url(url: str, parts: tuple[str, str, int, str]) -> None:
    made = of(url)
    assert (made.scheme, made.host, made.port, made.prefix) == parts
    assert of(made.url) == made
    assert http.target(made, "/v1/stream") == f"{parts[3]}/v1/stream"


@pytest.mark.parametrize(
    "url",
    [
        *("", "host:8770", "ftp://host", "http://", "http://:8770", "https:///path", "http:/host", "http://user@"),
        *("http://host:0", "http://host:65536", "http://host:port", "http://host:-1", "http://[::1", "http://::1:80"),
        *("http://ho st", "http://host\n", "http://a..b", f"http://{'a' * 64}", "http://host?x=1", "http://host#top"),
        *("http://host:8770:8770", "http://host\\path", "http://ex\u0001ample"),
    ],
)
def test_invalid_url_is_refused_by_settings(url: str) -> None:
    with pytest.raises(SettingError, match="URL"):
        of(url)
    if url:  # an empty variable counts as unset
        with pytest.raises(SettingError, match="URL"):
            resolve({"STEPWELL_URL": url})


class TestCredentials:
    def test_key_is_a_bearer_token(self) -> None:
        settings = resolve({"STEPWELL_API_KEY": "k-123"})
        assert settings.endpoint.headers["Authorization"] == "Bearer k-123"
        assert "k-123" not in repr(settings) + repr(settings.endpoint) + str(settings.endpoint)

    def test_url_credentials_become_basic_auth(self) -> None:
        settings = resolve({"STEPWELL_URL": "https://ann:p%40ss@host/base"})
        expected = "Basic " + base64.b64encode(b"ann:p@ss").decode()
        assert settings.endpoint.headers["Authorization"] == expected
        assert settings.url == settings.endpoint.url == "https://host/base"
        assert "p%40ss" not in repr(settings)
        assert expected not in repr(settings)

    def test_settings_without_resolve_send_credentials(self) -> None:
        assert Settings(url="http://ann:pass@host").endpoint.headers["Authorization"].startswith("Basic ")

    def test_key_and_password_are_exclusive(self) -> None:
        with pytest.raises(SettingError) as raised:
            resolve({"STEPWELL_URL": "http://ann:secret@host", "STEPWELL_API_KEY": "k"})
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("key", ["k-123\n", " k-123", "k-123\r\nX-Other: 1", "k-123ü"])
    def test_key_invalid_in_a_header_is_refused(self, key: str) -> None:
        with pytest.raises(SettingError, match="API key") as raised:
            authorization("http://host", key)
        assert "k-123" not in str(raised.value)

    @pytest.mark.parametrize(
        "url",
        ["http://a:secret@host:0", "ftp://a:secret@host", "http://a:secret@host:65536", "http://a:se/cret@host"],
    )
    def test_errors_show_no_password(self, url: str) -> None:
        with pytest.raises(SettingError) as raised:
            of(url)
        assert "cret" not in str(raised.value)

    @pytest.mark.parametrize(
        ("url", "safe"),
        [
            ("https://ann:secret@host/p", "https://host/p"),
            ("https://token@host:1/p@q", "https://host:1/p@q"),
            ("http://[::1]/p@q", "http://[::1]/p@q"),
            ("https://ann:se/cret@host/p", "https://host/p"),
            ("https://host/p", "https://host/p"),
            ("ann:secret@host:team/repo.git", "host:team/repo.git"),
            ("ghp_abc@host:team/repo.git", "host:team/repo.git"),
            ("git@host:team/repo.git", "git@host:team/repo.git"),
            ("host:team/repo@v1", "host:team/repo@v1"),
            ("/srv/git/repo.git", "/srv/git/repo.git"),
        ],
    )
    def test_shown_urls_have_no_credentials(self, url: str, safe: str) -> None:
        assert shown(url) == safe


class TestProxy:
    def test_proxy_variable_depends_on_scheme(self) -> None:
        names = {"HTTP_PROXY": "http://one:3128", "https_proxy": "two:3129/"}
        plain, secure = of("http://host:8770", **names), of("https://host", **names)
        assert plain.proxy is not None
        assert (plain.proxy.host, plain.proxy.port) == ("one", 3128)
        assert secure.proxy is not None
        assert (secure.proxy.host, secure.proxy.port) == ("two", 3129)
        assert http.target(plain, "/v1/x") == "http://host:8770/v1/x"
        assert http.target(secure, "/v1/x") == "/v1/x"

    def test_proxy_credentials_go_only_to_the_proxy(self) -> None:
        made = of("https://host", HTTPS_PROXY="http://ann:secret@proxy:3128")
        assert made.proxy is not None
        assert made.proxy.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"ann:secret").decode()
        assert "Authorization" not in made.headers
        assert "secret" not in made.proxy.url + repr(made)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.1.1", "[::1]"])
    def test_localhost_needs_no_proxy(self, host: str) -> None:
        assert of(f"http://{host}:8770", HTTP_PROXY="http://proxy").proxy is None

    @pytest.mark.parametrize(
        ("url", "excluded"),
        [
            *(("http://host.team.example", name) for name in ("*", "host.team.example", ".team.example", "example")),
            *(("http://host:8770", name) for name in ("other, host", "host:8770", "HOST")),
            *(("http://10.1.2.3", name) for name in ("10.0.0.0/8", "10.1.2.3")),
            ("http://[fd00::1]:8770", "fd00::/8"),
        ],
    )
    def test_no_proxy_excludes_the_server(self, url: str, excluded: str) -> None:
        assert of(url, HTTP_PROXY="http://proxy", NO_PROXY=excluded).proxy is None

    @pytest.mark.parametrize("excluded", ["", "host:8771", "ost", "11.0.0.0/8", "other"])
    def test_no_proxy_with_other_names(self, excluded: str) -> None:
        assert of("http://host:8770", HTTP_PROXY="http://proxy", NO_PROXY=excluded).proxy is not None

    @pytest.mark.parametrize("url", ["socks5://proxy:1080", "https://proxy", "http://", "http://proxy:99999"])
    def test_invalid_proxy_is_refused(self, url: str) -> None:
        with pytest.raises(SettingError, match="HTTP_PROXY"):
            of("http://host", HTTP_PROXY=url)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_unreadable_ca_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingError, match="certificate authorities"):
        resolve({"STEPWELL_URL": "https://host", "STEPWELL_CA_FILE": str(file)})
