import base64
import json
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.domain import redaction
from remediator.domain.redaction import MARKER, Redactor, redact, redact_json

KEY_BODY = "\n".join(f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj{n:02d}AgEAAoIBAQC7VJTUt9Us8cKj" for n in range(12))
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY}\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
HEX = "0123456789abcdef"

PLANTED = [
    # form of their own
    (f"key is {JWT} end", JWT),
    (f"cut off {JWT[:60]}", JWT[10:60]),
    ("using AKIAIOSFODNN7EXAMPLE now", "AKIAIOSFODNN7EXAMPLE"),
    ("ASIAIOSFODNN7EXAMPLE,", "ASIAIOSFODNN7EXAMPLE"),
    ("maps AIzaSyA1234567890abcdefghijklmnopqrstuv ok", "AIzaSyA1234567890abcdefghijklmnopqrstuv"),
    ("ya29.a0AfH6SMBx1234567890abcdef", "a0AfH6SMBx1234567890abcdef"),
    ("GOCSPX-1234567890abcdefghijklmn", "1234567890abcdefghijklmn"),
    ("ghp_1234567890abcdefghijklmnopqrstuvwxyz", "1234567890abcdefghijklmnopqrstuvwxyz"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuv", "11ABCDEFG0abcdefghijkl_mnopqrstuv"),
    ("glpat-abcdefghij1234567890", "abcdefghij1234567890"),
    ("xoxb-123456789012-abcdefghijkl", "123456789012-abcdefghijkl"),
    ("https://hooks.slack.com/services/T0000/B0000/abcdefghijklmnop", "T0000/B0000/abcdefghijklmnop"),
    ("https://discord.com/api/webhooks/123456/abcdefgh-IJKL", "abcdefgh-IJKL"),
    ("bot 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw_", "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw_"[:35]),
    ("sk_live_abcdefghijklmnop1234", "abcdefghijklmnop1234"),
    ("whsec_abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwx"),
    ("sk-proj-abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwx"),
    ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklmnopqrstuvwxyz0123456789"),
    ("SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklmnopqrstuv"),
    ("hvs.CAESIAbcdefghijklmnopqrstuv", "CAESIAbcdefghijklmnopqrstuv"),
    (f"dop_v1_{HEX * 4}", HEX * 4),
    (f"dapi{HEX * 2}", HEX * 2),
    ("admin:$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "N9qo8uLOickgx2ZMRZoMye"),
    # PEM
    (PEM, KEY_BODY[:40]),
    (f'level=error msg="loading {PEM} failed"', KEY_BODY[:40]),
    (PEM.replace("\n", "\\n"), KEY_BODY[:40]),
    (json.dumps(json.dumps({"tls.key": PEM})), KEY_BODY[:40]),
    (PEM[:400], KEY_BODY[200:300]),
    (f"{PEM[:400]}\n2026-03-01T12:00:00Z next line", KEY_BODY[200:300]),
    (PEM[200:], KEY_BODY[250:300]),
    (f"tail: {PEM[200:]}", KEY_BODY[250:300]),
    ("\n".join(f"2026-03-01T12:00:00Z stdout F {line}" for line in PEM.split("\n")), KEY_BODY[:40]),
    # headers
    ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
    ("authorization: Basic YWxpY2U6aHVudGVyMg==", "YWxpY2U6aHVudGVyMg=="),
    ("curl -H 'Authorization: token abcdef12' https://x", "abcdef12"),
    ('{"Authorization":["Bearer hunter2hunter2"]}', "hunter2hunter2"),
    ('Proxy-Authorization="Negotiate YIIZG1hZG1pbg"', "YIIZG1hZG1pbg"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=AKI/2026, Signature=fe5f80", "fe5f80"),
    ("Cookie: session=abc123; theme=dark", "abc123"),
    ("< Set-Cookie: sid=s3cr3t; Path=/; HttpOnly", "s3cr3t"),
    ('{"cookie":["a=b1c2"]}', "b1c2"),
    ("sent bearer 0123456789abcdef upstream", "0123456789abcdef"),
    ("got Basic YWxpY2U6aHVudGVyMg== from client", "YWxpY2U6aHVudGVyMg"),
    ("X-Api-Key: hunter2", "hunter2"),
    # addresses
    ("dial postgres://app:hunter2@db:5432/shop?sslmode=off", "hunter2"),
    ("postgres://app:hun/ter@2@db/shop", "hun/ter@2"),
    ("amqp://guest:hunter2@rabbit:5672/%2f", "hunter2"),
    ("mongodb+srv://u:hunter2@cluster0.mongodb.net/db", "hunter2"),
    ("redis://:hunter2@cache:6379/0", "hunter2"),
    ("https://alice:hunter2@git.example.com/x.git", "hunter2"),
    ("https://0123456789abcdef0123@git.example.com/x.git", "0123456789abcdef0123"),
    ("jdbc:mysql://db/shop?user=app&password=hunter2&ssl=true", "hunter2"),
    ("jdbc:sqlserver://db:1433;user=sa;password=hunter2;", "hunter2"),
    ("app:hunter2@tcp(db:3306)/shop?parseTime=true", "hunter2"),
    ("Server=db;Database=shop;User Id=sa;Password=hunter2;", "hunter2"),
    ("Server=db;Uid=sa;Pwd=hunter2;", "hunter2"),
    ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey=abc/def+ghi==;", "abc/def+ghi=="),
    ("https://x.blob.core.windows.net/c?sv=2026&sig=abc%2Fdef%3D", "abc%2Fdef%3D"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Credential=AB12&X-Amz-Signature=fe5f80ff", "fe5f80ff"),
    ("GET /v1/items?page=2&access_token=hunter2&x=1", "hunter2"),
    # names and values
    ("password=hunter2", "hunter2"),
    ("level=info password=hunter2 user=bob", "hunter2"),
    ('level=info password="hunter 2" user=bob', "hunter 2"),
    ("password: hunter2", "hunter2"),
    ("password: correct horse battery staple", "horse battery"),
    ("  - db.password: 'it''s hunter2'", "hunter2"),
    ("spring.datasource.password=hunter2", "hunter2"),
    ('{"password":"hunter2"}', "hunter2"),
    ('{"password": "hun\\"ter2"}', "ter2"),
    ('{"dbPassword" : "hunter2", "x": 1}', "hunter2"),
    ('{"password": 12345678}', "12345678"),
    ("{'passwd': 'hunter2'}", "hunter2"),
    (r'{"msg":"{\"password\":\"hunter2\"}"}', "hunter2"),
    (r'{"msg":"{\"password\":\"hun\\\"ter2\"}"}', "ter2"),
    (r'"{\\\"password\\\":\\\"hunter2\\\"}"', "hunter2"),
    ('{"password":"cut off hunt', "hunt"),
    ('password => "hunter2"', "hunter2"),
    ("{User:bob Password:hunter2}", "hunter2"),
    ("connect(user=bob, password=hunter2)", "hunter2"),
    ("token: abc123def", "abc123def"),
    ("token=abcdef", "abcdef"),
    ("got token: 8f14e45fceea, retrying", "8f14e45fceea"),
    ("client_secret=abcdef", "abcdef"),
    ("clientSecret: abcdef", "abcdef"),
    ('secret: "abcdef"', "abcdef"),
    ("api_key: abcdef", "abcdef"),
    ("apiKey=abcdef", "abcdef"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    ("refresh_token=abcdef", "abcdef"),
    ('"auths":{"r.io":{"auth":"YWxpY2U6aHVudGVyMg=="}}', "YWxpY2U6aHVudGVyMg=="),
    ('.dockerconfigjson: "eyJh"', "eyJh"),
    ("    client-key-data: LS0tLS1CRUdJTiBSU0E=", "LS0tLS1CRUdJTiBSU0E="),
    ("DB_PASSWORD=a&b;c d", "a&b;c d"),
    ("export API_TOKEN=abcdef ghi", "abcdef ghi"),
    ('"passwords": ["hunter2", "hunter3"]', "hunter3"),
    ("password: |\n  hunter2", "hunter2"),
    ("mytool --password hunter2 --verbose", "hunter2"),
    ("mytool --api-key=hunter2", "hunter2"),
    ("mytool --token 'hunter 2'", "hunter 2"),
    ("curl -u alice:hunter2 https://x", "hunter2"),
    ("<password>hunter2</password>", "hunter2"),
    ("<ns:clientSecret>hunter2</ns:clientSecret>", "hunter2"),
    ("PASSWORD_1=hunter2", "hunter2"),
    ("passwort=hünter2ß", "hünter2ß"),
    # printed Secrets
    ("apiVersion: v1\nkind: Secret\ndata:\n  user: YWxpY2U=\n  note: aGk=\nmetadata:\n  name: x", "aGk="),
    ("kind: Secret\nstringData:\n  note: |\n    line one\n    line two\n", "line two"),
    ("items:\n- apiVersion: v1\n  data:\n    note: aGk=\n  kind: Secret\n", "aGk="),
    ('{"kind":"Secret","data":{"note":"aGk="},"metadata":{"name":"x"}}', "aGk="),
    (r"last-applied: {\"kind\":\"Secret\",\"stringData\":{\"note\":\"hi there\"}}", "hi there"),
]

CLEAN = [
    "",
    "2026-03-01T12:00:00Z INFO started in 3.2s on port 8080",
    'level=info ts=2026-03-01T12:00:00Z caller=main.go:42 msg="Starting" version=1.2.3 revision=4f2a81c09be2d713',
    'I0301 12:00:00.000000       1 event.go:377] "Event occurred" object="shop/checkout" reason="SuccessfulCreate"',
    "Pulled image registry.example.com:5000/shop/app@sha256:" + HEX * 4,
    "docker-pullable://registry:5000/shop/app@sha256:" + HEX * 4,
    "run 123e4567-e89b-12d3-a456-426614174000 at commit 4f2a81c09be2d7134f2a81c09be2d7134f2a81c0",
    "GET /v1/items?page=2&limit=50 HTTP/1.1 200 12ms",
    "https://example.com:8443/a/b?x=1#frag and http://alice@example.com/",
    'MountVolume.SetUp failed for volume "certs" : secret "checkout-tls" not found',
    "error getting secret: not found",
    "invalid token: expected comma",
    "SyntaxError: Unexpected token } in JSON at position 5",
    "FATAL: password authentication failed for user app",
    "basic authentication is disabled; bearer authentication is enabled",
    "max_tokens=100 total_tokens: 1234 tokenizer=bpe",
    "secretName: checkout-tls",
    "serviceAccountToken:\n  expirationSeconds: 3607\n  path: token",
    "automountServiceAccountToken: false",
    "imagePullSecrets:\n- name: regcred",
    'imagePullSecrets: [{"name":"regcred"}]',
    "DB_PASSWORD:  <set to the key 'password' in secret 'db'>  Optional: false",
    "env DB_PASSWORD=$(DB_PASSWORD) and ${DB_PASSWORD}",
    'password=""',
    "token: null",
    '{"token":null,"password":null,"secret":true}',
    "password=*****",
    "PWD=/home/app\nOLDPWD=/",
    "password_file=/run/secrets/db-password",
    "token=/var/run/secrets/kubernetes.io/serviceaccount/token",
    'secret="shop/checkout-tls" reconciled',
    "the key to success is patience; keyboard=qwertz monkey: 3",
    "compass: north, bypass: off, passed: 3, failed: 0",
    "author: alice, authority=ca, authenticated: 12 users",
    "cookie policy accepted",
    "pod shop/sk-frontend-7d9f8b6c5d-abcde on node gl-worker-7d9f8b6c5d-abcdef",
    "cred: ok",
    "panic: runtime error: index out of range [5] with length 3",
    "goroutine 1 [running]:\nmain.main()\n\t/app/main.go:12 +0x1d",
    "java.lang.NullPointerException: null\n\tat com.example.Foo.bar(Foo.java:12)",
    "user@example.com wrote to team@example.com",
    "ssh-rsa key accepted for git@github.com:org/repo.git",
    "kind: ConfigMap\ndata:\n  colour: blue",
    "kind: Secret\nmetadata:\n  name: x\ntype: Opaque",
    "ratio 3:4@2x a:b c::d 12:30:45",
    "Σ🙂 ünïcode ﷽ is fine",
]


@pytest.mark.parametrize(("text", "secret"), PLANTED, ids=[text[:40] for text, _ in PLANTED])
def test_a_planted_secret_is_gone(text: str, secret: str) -> None:
    assert secret in text

    redacted = redact(text)

    assert secret not in redacted
    assert MARKER in redacted


@pytest.mark.parametrize(("text", "secret"), PLANTED, ids=[text[:40] for text, _ in PLANTED])
def test_a_secret_is_gone_wherever_it_stands(text: str, secret: str) -> None:
    around = f"2026-03-01 ordinary words (before) ünï\n{text}\nand [after] it"

    redacted = redact(around)

    assert secret not in redacted
    assert redacted.startswith("2026-03-01 ordinary words (before) ünï\n")


@pytest.mark.parametrize("text", CLEAN, ids=[text[:40] for text in CLEAN])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("text", [*(text for text, _ in PLANTED), "\n".join(text for text, _ in PLANTED)])
def test_redacting_twice_gives_the_same_as_once(text: str) -> None:
    once = redact(text)

    assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"password":"hun\\"ter2","user":"bob"}', '{"password":"[redacted]","user":"bob"}'),
        (r'{"msg":"{\"token\":\"abc\",\"a\":1}"}', r'{"msg":"{\"token\":\"[redacted]\",\"a\":1}"}'),
        ('{"password": 12345678, "user": "bob"}', '{"password": [redacted], "user": "bob"}'),
        ("connect(user=bob, password=hunter2)", "connect(user=bob, password=[redacted])"),
        ("Server=db;Password=hunter2;Database=x", "Server=db;Password=[redacted];Database=x"),
        ("postgres://app:hunter2@db:5432/shop", "postgres://app:[redacted]@db:5432/shop"),
        ("GET /?token=abc&page=2", "GET /?token=[redacted]&page=2"),
        (f"a {PEM} b", "a [redacted] b"),
        (f'{{"Authorization":"Bearer {JWT}","x":1}}', '{"Authorization":"[redacted]","x":1}'),
        (
            'kind: Secret\ndata:\n  a: YWJj\n  "b": eHl6\ntype: Opaque',
            'kind: Secret\ndata:\n  a: [redacted]\n  "b": [redacted]\ntype: Opaque',
        ),
        ('{"kind":"Secret","data":{"a":"YWJj"},"x":1}', '{"kind":"Secret","data":{"a":"[redacted]"},"x":1}'),
    ],
)
def test_what_stands_around_a_secret_stays_readable(text: str, expected: str) -> None:
    assert redact(text) == expected


FRAGMENTS = st.sampled_from(
    [
        *"\"'`\\=:;,&@/<>{}[]()|-\n \t",
        "password", "token", "secret", "api_key", "Authorization", "Cookie", "Bearer ", "Basic YTpi", "://", "u:p@",
        "postgres", "-----BEGIN X-----", "-----END X-----", "kind: Secret\n", "data:\n", "  ", "abc", "1234567890abcdef",
        MARKER, "eyJhbGciOiJIUzI1NiJ9", "=>", '\\"', "PASSWORD=", "--token ", "é", "\ud800", "AKIAIOSFODNN7EXAMPLE",
        "|\n ", "<password>", '"auth":"', "tokens: [\"", "?sig=",
    ]
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_redacting_any_text_twice_gives_the_same_as_once(text: str) -> None:
    once = redact(text)

    assert redact(once) == once


@given(st.text())
def test_any_text_can_be_redacted(text: str) -> None:
    redact(text)


def test_half_a_surrogate_pair_does_not_hide_a_secret() -> None:
    assert "hunter2" not in redact("\ud800 password=\ud800hunter2")


@pytest.mark.parametrize("length", [100_000, 131_060, 131_070, 131_071, 131_072, 131_073, 140_000, 300_000])
def test_a_secret_is_found_across_the_edges_of_what_is_looked_at_at_once(length: int) -> None:
    text = "x " * (length // 2) + "password=" + "ü" * 200_000 + " end"

    assert redact(text) == "x " * (length // 2) + "password=[redacted] end"


@pytest.mark.parametrize("offset", range(-12, 3))
def test_an_edge_inside_of_a_name_hides_nothing(offset: int) -> None:
    text = "é" + "x" * (131_072 + offset) + " password=hunter2 "

    assert "hunter2" not in redact(text)


HOSTILE = {
    "ordinary lines": '2026-03-01T12:00:00Z level=info msg="request done" path=/v1/items status=200\n',
    "names": "password",
    "names and signs": "password=",
    "secrets": "password=hunter2 ",
    "open quotes": 'password="',
    "escaped quotes": 'token\\":\\"',
    "beginnings": "-----BEGIN X-----(",
    "ends": "-----END X-----",
    "addresses": "postgres://a:",
    "at signs": "://a:b@",
    "braces": '"kind":"Secret","data":{',
    "indented": "kind: Secret\ndata:\n  a:\n",
    "backslashes": "\\",
    "quotes": '"',
    "spaces": " ",
    "dashes": "-",
    "dots": "eyJaaaaaaaaaaaa.",
    "headers": "authorization: [",
    "flags": " --token",
    "lists": 'tokens: ["a", ',
    "tags": "<password>",
    "encoded": base64.b64encode(b"password=hunter2 and so on").decode() + " ",
    "encoded twice": base64.b64encode(base64.b64encode(b"password=hunter2 and so on")).decode() + " ",
    "encoded without a blank": base64.b64encode(b"password=hunter2 and so on ..").decode(),
    "blocks": "password: |\n  a\n",
    "one block": " password: |\n  a\n  b",
    "commands": "redis-cli -h x ",
    "calls": '"AUTH" "a" ',
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_linearly_whatever_the_text_is(unit: str) -> None:
    def best(text: str) -> float:  # a collection of garbage in between is not the text's
        took = []
        for _ in range(3):
            began = process_time()
            redact(text)
            took.append(process_time() - began)
        return min(took)

    small, large = best(unit * (20_000 // len(unit))), best(unit * (80_000 // len(unit)))

    assert large < 12 * small + 0.1


class Counting:
    """A pattern that counts the bytes that it reads."""

    def __init__(self, regex: Any, read: list[int]) -> None:
        self._regex, self._read = regex, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._regex, name)

    def search(self, data: bytes, start: int = 0, end: int | None = None) -> Any:
        end = len(data) if end is None else end
        found = self._regex.search(data, start, end)
        self._read[0] += (end if found is None else found.end()) - start
        return found


def bytes_read(text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    read = [0]
    with monkeypatch.context() as patch:
        patch.setattr(redaction, "_rules", tuple((Counting(regex, read), sign) for regex, sign in redaction._rules))
        for name in ("_own_form", "_name_or_sign", "_secret_kind"):
            patch.setattr(redaction, name, Counting(getattr(redaction, name), read))
        redact(text)
    return read[0]


LOG = '2026-03-01T12:00:00Z level=info msg="request done" path=/v1/items status=200 user=bob password=hunter2\n'
ENCODED = f"value: {base64.b64encode(b'postgres://shop:hunter2@db/orders').decode()}\n"


@pytest.mark.parametrize("unit", [f"{LOG}{ENCODED}{PEM}\n" + LOG * 20, "x"], ids=["a log", "one word"])
def test_of_a_megabyte_each_byte_is_read_as_often_as_of_a_part(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = unit * (65_536 // len(unit))

    small, large = bytes_read(part, monkeypatch), bytes_read(part * 16, monkeypatch)

    assert small > 0
    assert large <= 20 * small  # windows overlap


CORPUS = yaml.safe_load((Path(__file__).parents[1] / "data" / "secrets.yaml").read_text())


@pytest.mark.parametrize("one", CORPUS, ids=[one["name"] for one in CORPUS])
def test_of_the_corpus_what_must_vanish_vanishes_and_its_neighbours_stay(one: dict[str, Any]) -> None:
    assert all(text in one["text"] for text in (*one["gone"], *one["stays"])), "the corpus itself"

    redacted = redact(one["text"])

    assert [secret for secret in one["gone"] if secret in redacted] == []
    assert [text for text in one["stays"] if text not in redacted] == []
    assert redact(redacted) == redacted


def test_the_corpus_vanishes_as_one_text_and_as_the_values_of_an_object() -> None:
    text = redact("\n".join(one["text"] for one in CORPUS))
    value = json.dumps(redact_json({f"line{n}": [one["text"]] for n, one in enumerate(CORPUS)}))

    assert [secret for one in CORPUS for secret in one["gone"] if secret in text or secret in value] == []


@pytest.mark.parametrize("depth", [1, 2])
def test_a_secret_in_base64_is_gone_and_other_base64_stays(depth: int) -> None:
    secret, other = b"postgres://shop:hunter2@db/orders", b"a greeting to all who read this text"
    for _ in range(depth):
        secret, other = base64.b64encode(secret), base64.b64encode(other)

    assert redact(f"a {secret.decode()} b {other.decode()} c") == f"a [redacted] b {other.decode()} c"


def test_base64_whose_end_was_cut_off_is_seen_through() -> None:
    encoded = base64.b64encode(b"postgres://shop:hunter2@db/\xc3\xa4\xc3\xa4").decode().rstrip("=")

    assert all(redact(f"a {encoded[: len(encoded) - cut]}") == "a [redacted]" for cut in range(6))


def test_patterns_of_ones_own_are_added() -> None:
    redactor = Redactor([r"\bCUST-[0-9]{6}\b", r"patient (?P<secret>\w+)"])

    assert redactor.redact("CUST-123456 is patient Miller, password=x") == (
        "[redacted] is patient [redacted], password=[redacted]"
    )
    assert redact("CUST-123456") == "CUST-123456"


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(", r"'\(' is not a regular expression of RE2: missing \)"),
        ("(?=x)", "is not a regular expression of RE2"),
        ("x*", "matches the empty text, and so everywhere"),
        ("x" * 2_000, "at most 1000 characters, this one has 2000"),
        ("\ud800", "is not a regular expression of RE2"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(pattern: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Redactor([pattern])


def test_the_values_of_a_secret_are_replaced_and_its_keys_stay() -> None:
    secret: Any = {"kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "YWJj"}, "stringData": {"b": "c"}}

    assert redact_json(secret) == {
        "kind": "Secret",
        "metadata": {"name": "x"},
        "data": {"a": MARKER},
        "stringData": {"b": MARKER},
    }


def test_a_list_of_secrets_is_replaced_although_its_items_carry_no_kind() -> None:
    listed: Any = {"kind": "SecretList", "items": [{"data": {"a": "YWJj"}}]}

    assert redact_json(listed) == {"kind": "SecretList", "items": [{"data": {"a": MARKER}}]}


def test_the_data_of_a_config_map_stays() -> None:
    config: Any = {"kind": "ConfigMap", "data": {"colour": "blue", "app.properties": "db.password=hunter2"}}

    assert redact_json(config) == {
        "kind": "ConfigMap",
        "data": {"colour": "blue", "app.properties": "db.password=[redacted]"},
    }


def test_environment_variables_go_by_their_name() -> None:
    env: Any = {
        "env": [
            {"name": "DB_PASSWORD", "value": "x"},
            {"name": "API_TOKEN", "value": "abc"},
            {"name": "COLOUR", "value": "blue"},
            {"name": "OTHER_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "URL", "value": "redis://:hunter2@cache"},
        ]
    }

    assert redact_json(env) == {
        "env": [
            {"name": "DB_PASSWORD", "value": MARKER},
            {"name": "API_TOKEN", "value": MARKER},
            {"name": "COLOUR", "value": "blue"},
            {"name": "OTHER_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "URL", "value": "redis://:[redacted]@cache"},
        ]
    }


def test_the_last_applied_annotation_is_left_out() -> None:
    annotated: Any = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "shop"}}
    }

    assert redact_json(annotated) == {"metadata": {"annotations": {"team": "shop"}}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "x"}, {"password": MARKER}),
        ({"password": 1234}, {"password": MARKER}),
        ({"Authorization": "anything"}, {"Authorization": MARKER}),
        ({"Cookie": ["a", "b"]}, {"Cookie": [MARKER, MARKER]}),
        ({"tokens": ["abc", "def"]}, {"tokens": [MARKER, MARKER]}),
        (
            {"args": ["--password", "x", "--token=y", "-v"]},
            {"args": ["--password", MARKER, "--token=[redacted]", "-v"]},
        ),
        ({"clientSecret": "x", "nested": [{"apiKey": "y"}]}, {"clientSecret": MARKER, "nested": [{"apiKey": MARKER}]}),
    ],
)
def test_members_go_by_their_name(value: Any, expected: Any) -> None:
    assert redact_json(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        "blue",
        [],
        {"automountServiceAccountToken": False, "tokenExpirationSeconds": 3600, "maxTokens": 5},
        {"volumes": [{"name": "certs", "secret": {"secretName": "checkout-tls", "defaultMode": 420}}]},
        {"imagePullSecrets": [{"name": "regcred"}]},
        {"image": "r.io/app@sha256:" + HEX * 4, "uid": "123e4567-e89b-12d3-a456-426614174000"},
        {"name": "token", "value": ""},
        {"secret": "shop/checkout-tls"},
    ],
)
def test_ordinary_objects_are_left_alone(value: Any) -> None:
    assert redact_json(value) == value


def test_what_is_nested_too_deeply_is_replaced_as_a_whole() -> None:
    value: Any = "deep"
    for _ in range(5_000):
        value = [value]

    assert MARKER in str(redact_json(value))


def test_the_given_object_is_not_altered() -> None:
    value: Any = {"password": "x", "list": [{"token": "y"}]}

    redact_json(value)

    assert value == {"password": "x", "list": [{"token": "y"}]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FRAGMENTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "data", "password", "name", "value", "x", "tokens", "args"]), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_redacting_any_object_twice_gives_the_same_as_once(value: Any) -> None:
    once = redact_json(value)

    assert redact_json(once) == once
