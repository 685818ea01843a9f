"""Names and addresses of outgoing calls, and every way to write one so that it looks like another."""

import pytest

from remediator.domain.errors import Forbidden
from remediator.domain.hosts import (
    Place,
    is_permitted,
    normal_host,
    objection_to_address,
    objection_to_configured,
    objection_to_pattern,
    place_of,
)

NEVER = {
    "loopback": "127.0.0.1",
    "another loopback": "127.8.9.10",
    "IPv6 loopback": "::1",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "IPv6 unspecified": "::",
    "AWS, GCP and Azure metadata": "169.254.169.254",
    "ECS metadata": "169.254.170.2",
    "AWS metadata by IPv6": "fd00:ec2::254",
    "GCP metadata by IPv6": "fd20:ce::254",
    "Alibaba metadata": "100.100.100.200",
    "Azure's wire server": "168.63.129.16",
    "Oracle metadata": "192.0.0.192",
    "link-local": "169.254.0.1",
    "IPv6 link-local": "fe80::1",
    "IPv6 site-local": "fec0::1",
    "multicast": "224.0.0.1",
    "IPv6 multicast": "ff02::1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "loopback mapped into IPv6": "::ffff:127.0.0.1",
    "metadata mapped into IPv6": "::ffff:169.254.169.254",
    "metadata mapped, in hexadecimal": "::ffff:a9fe:a9fe",
    "metadata translated": "::ffff:0:169.254.169.254",
    "loopback compatible": "::127.0.0.1",
    "metadata through 6to4": "2002:a9fe:a9fe::1",
    "loopback through 6to4": "2002:7f00:1::",
    "metadata through NAT64": "64:ff9b::169.254.169.254",
    "loopback through local NAT64": "64:ff9b:1::127.0.0.1",
    "metadata through Teredo": "2001:0:4136:e378:8000:63bf:5601:5601",
    "metadata through ISATAP": "2001:db8::5efe:169.254.169.254",
    "no address": "metadata",
}


@pytest.mark.parametrize("address", NEVER.values(), ids=NEVER)
def test_an_address_of_the_machine_its_link_or_the_cloud_is_never_called(address: str) -> None:
    assert objection_to_address(address) != ""


@pytest.mark.parametrize(
    "address",
    ["10.96.0.10", "192.168.1.1", "172.16.0.1", "fd12:3456::1", "93.184.215.14", "2606:2800::1", "64:ff9b::8.8.8.8"],
)
def test_private_and_public_addresses_may_be_called(address: str) -> None:
    assert objection_to_address(address) == ""


def test_what_the_platform_configured_may_be_on_its_own_machine_but_not_metadata() -> None:
    assert objection_to_configured("127.0.0.1") == ""
    assert objection_to_configured("::ffff:169.254.169.254") != ""
    assert objection_to_configured("100.100.100.200") != ""
    assert objection_to_configured("fe80::1") != ""


SPELLINGS = {
    "decimal": "http://2130706433/",
    "octal": "http://0177.0.0.1/",
    "hexadecimal": "http://0x7f.0.0.1/",
    "one hexadecimal number": "http://0x7f000001/",
    "short": "http://127.1/",
    "leading zeros": "http://127.000.000.001/",
    "too many parts": "http://1.2.3.4.5/",
    "a part that is too large": "http://127.0.0.256/",
    "hexadecimal without digits": "http://127.0.0.0x/",
    "percent in the host": "http://%31%32%37.0.0.1/",
    "a zone": "http://[fe80::1%25eth0]/",
    "a user": "http://admin@example.com/",
    "a user and a password": "http://a:b@example.com/",
    "an empty user": "http://@example.com/",
    "a host that looks like a user": "http://example.com:80@169.254.169.254/",
    "a backslash": "http://example.com\\@169.254.169.254/",
    "a line break": "http://example.com/\r\nHost: metadata",
    "a tab": "http://exam\tple.com/",
    "a blank": "http://example.com /",
    "a NUL": "http://example.com\0.evil/",
    "no host": "http:///x",
    "only a dot": "http://./",
    "two dots at the end": "http://example.com../",
    "an empty label": "http://a..example.com/",
    "a slash in disguise": "http://example.com\u2100.evil/",
    "fullwidth at sign": "http://example.com\uff20evil/",
    "a port that is none": "http://example.com:99999/",
    "port 0": "http://example.com:0/",
    "a port of letters": "http://example.com:http/",
    "another scheme": "ftp://example.com/",
    "a file": "file:///etc/passwd",
    "gopher": "gopher://example.com:6379/_FLUSHALL",
    "no scheme": "//example.com/",
    "half a bracket": "http://[::1/",
    "brackets around a name": "http://[example.com]/",
    "behind brackets": "http://[::ffff:10.0.0.1].example.com/",
    "too long": "http://example.com/" + "x" * 3000,
}


@pytest.mark.parametrize("url", SPELLINGS.values(), ids=SPELLINGS)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(Forbidden):
        place_of(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://Example.COM", Place("example.com", 80, "http")),
        ("HTTPS://example.com./x?y#z", Place("example.com", 443, "https")),
        ("https://example.com:8443/", Place("example.com", 8443, "https")),
        ("http://b\u00fccher.example/", Place("xn--bcher-kva.example", 80, "http")),
        ("http://B\u00dcCHER\u3002example/", Place("xn--bcher-kva.example", 80, "http")),
        ("http://\uff11\uff12\uff17.0.0.1/", Place("127.0.0.1", 80, "http")),
        ("http://[FD00::0:1]:81/", Place("fd00::1", 81, "http")),
        ("http://my_service.shop.svc/", Place("my_service.shop.svc", 80, "http")),
        ("http://10.0.0.7/", Place("10.0.0.7", 80, "http")),
    ],
)
def test_a_host_has_one_form(url: str, expected: Place) -> None:
    assert place_of(url) == expected


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("api.example.com", "api.example.com", 443),
        ("API.example.com.", "api.example.com", 80),
        ("*.example.com", "a.b.example.com", 80),
        ("db.shop.svc:5432", "db.shop.svc", 5432),
        ("*.shop.svc:8080", "web.shop.svc", 8080),
        ("b\u00fccher.example", "xn--bcher-kva.example", 80),
        ("10.0.0.7", "10.0.0.7", 80),
        ("[fd00::1]:81", "fd00::1", 81),
        ("fd00::1", "fd00::1", 9),
    ],
)
def test_a_pattern_names_its_hosts(pattern: str, host: str, port: int) -> None:
    assert objection_to_pattern(pattern) == ""
    assert is_permitted(Place(normal_host(host), port), ["other.example", pattern])


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("example.com", "evil-example.com", 80),
        ("example.com", "example.com.evil", 80),
        ("example.com", "api.example.com", 80),
        ("*.example.com", "example.com", 80),
        ("*.example.com", "evilexample.com", 80),
        ("*.example.com", "example.com.evil", 80),
        ("db.shop.svc:5432", "db.shop.svc", 22),
        ("*.0.0.1", "10.0.0.1", 80),
        ("10.0.0.7", "10.0.0.70", 80),
        ("*", "example.com", 80),
        ("*.", "example.com", 80),
        ("", "example.com", 80),
        ("a*.example.com", "ab.example.com", 80),
        ("http://example.com", "example.com", 80),
        ("example.com:x", "example.com", 80),
        ("example.com:0", "example.com", 80),
    ],
)
def test_a_pattern_names_nothing_else(pattern: str, host: str, port: int) -> None:
    assert not is_permitted(Place(normal_host(host), port), [pattern])


@pytest.mark.parametrize(
    "pattern", ["*", "*.", "", "a*.example.com", "http://example.com", "example.com:0", "*.10.0.0.1"]
)
def test_a_pattern_that_names_nothing_is_told(pattern: str) -> None:
    assert "write host" in objection_to_pattern(pattern)
