from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.matching import Matcher, Operator, all_match, parse_matcher, parse_matchers

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
VALUES = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.mark.parametrize(
    ("text", "name", "operator", "value"),
    [
        ('foo="bar"', "foo", "=", "bar"),
        ('foo!="bar"', "foo", "!=", "bar"),
        ('foo=~"bar.*"', "foo", "=~", "bar.*"),
        ('foo!~"bar.*"', "foo", "!~", "bar.*"),
        ('{foo="bar"}', "foo", "=", "bar"),
        (' { foo = "bar" , } ', "foo", "=", "bar"),
        ("foo=bar", "foo", "=", "bar"),
        ("foo =\tbar ", "foo", "=", "bar"),
        ("foo=a b", "foo", "=", "a b"),
        ('foo=""', "foo", "=", ""),
        ('foo="a,b"', "foo", "=", "a,b"),
        ('foo="a}"', "foo", "=", "a}"),
        ('statuscode=~"5.."', "statuscode", "=~", "5.."),
        ("tricky=~~~", "tricky", "=~", "~~"),
        (r"trickier==\\=\=\"", "trickier", "=", '=\\=\\="'),
        ("foo==bar", "foo", "=", "=bar"),
        ("foo = ~bar", "foo", "=", "~bar"),
        (r'quote="She said: \"Hi, ladies!\""', "quote", "=", 'She said: "Hi, ladies!"'),
        (r'foo="a\\b\nc"', "foo", "=", "a\\b\nc"),
        (r'foo=~"\d+"', "foo", "=~", r"\d+"),
        (r'foo=~"\\d+"', "foo", "=~", r"\d+"),
        ('foo="a\nb"', "foo", "=", "a\nb"),
        ("foo=bar\\", "foo", "=", "bar\\"),
        ("a:b=c", "a:b", "=", "c"),
        ('"foo bar"="baz"', "foo bar", "=", "baz"),
        ('"k8s.pod/name"=~"a|b"', "k8s.pod/name", "=~", "a|b"),
        ('k8s.pod="x"', "k8s.pod", "=", "x"),
        ("Σ🙂=x", "Σ🙂", "=", "x"),
        (r'"\u03a3\t"="\x41"', "Σ\t", "=", "A"),
    ],
)
def test_reads_what_alertmanager_reads(text: str, name: str, operator: str, value: str) -> None:
    assert parse_matcher(text) == Matcher(name, Operator(operator), value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no matcher: write NAME="),
        ("{}", "holds no matcher: write NAME="),
        ("{ , }", "is not a matcher: write NAME="),
        ("foo", "is not a matcher: write NAME="),
        ("foo<bar", "is not a matcher: write NAME="),
        ('="bar"', "is not a matcher: write NAME="),
        ('""="bar"', "is not a matcher: write NAME="),
        (",foo=bar", "is not a matcher: write NAME="),
        ("foo=", 'has no value: write "" for a label that is empty or missing'),
        ("{foo=bar", "has one brace without the other: write both or none"),
        ("foo=bar}", "has one brace without the other: write both or none"),
        ('job="value', "has a quote that is not closed or not escaped"),
        ('job=value"', "has a quote that is not closed or not escaped"),
        ('job=foo"bar', "has a quote that is not closed or not escaped"),
        (r'job="a\"', "has a quote that is not closed or not escaped"),
        ('foo=~"invalid[regexp"', "is not a regular expression of RE2: missing ]"),
        ('foo=~"(?=ahead)"', "is not a regular expression of RE2: invalid perl operator"),
        ('foo=~"a)(b"', "is not a regular expression of RE2: unexpected )"),
        ('foo=~"((a{100}){100}){100}"', "is not a regular expression of RE2"),
        (r'"foo bar"=~"\d"', r"has the escape \d, which says nothing here"),
        ('"foo bar"="a" b', "goes on after its value with 'b': quote the value"),
        ('foo="a",bar="b"', "holds 2 matchers where one is wanted"),
        ("foo=a,b", "is not a matcher: write NAME="),
        ("foo=\ud800", "is not valid Unicode"),
        ("x" * 5_000, "at most 4096 characters, this one has 5000"),
    ],
)
def test_what_is_no_matcher_is_answered_with_what_to_write(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_matcher(text)

    assert sentence in str(caught.value)


def test_a_matcher_needs_a_label_name() -> None:
    with pytest.raises(ValueError, match="a matcher needs the name of a label"):
        Matcher("", Operator.EQUAL, "x")


def test_several_matchers_stand_between_commas_with_or_without_braces() -> None:
    expected = (Matcher("a", Operator.EQUAL, "b,c"), Matcher("d", Operator.MATCHES_NOT, "e.*"))

    assert parse_matchers('{a="b,c",d!~"e.*"}') == expected
    assert parse_matchers('a="b,c", d!~e.* ,') == expected


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ('a="x"', {"a": "x"}, True),
        ('a="x"', {"a": "X"}, False),
        ('a="x"', {}, False),
        ('a=""', {}, True),
        ('a=""', {"a": ""}, True),
        ('a=""', {"a": "x"}, False),
        ('a!="x"', {}, True),
        ('a!="x"', {"a": "x"}, False),
        ('a!=""', {}, False),
        ('a!=""', {"a": "x"}, True),
        ('a=~"x|y"', {"a": "y"}, True),
        ('a=~"x|y"', {"a": "xy"}, False),
        ('a=~"x|y"', {"a": "ax"}, False),
        ('a=~"x"', {"a": "x\n"}, False),
        ('a=~"x.y"', {"a": "x\ny"}, False),
        ('a=~".*"', {}, True),
        ('a=~".+"', {}, False),
        ('a=~"(?i)X"', {"a": "x"}, True),
        ('a=~"é."', {"a": "éü"}, True),
        ('a!~"x|y"', {"a": "y"}, False),
        ('a!~"x|y"', {"a": "z"}, True),
        ('a!~".+"', {}, True),
        ('a!~""', {}, False),
    ],
)
def test_matches_as_alertmanager_documents_it(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_matcher(text).matches(labels) is matches


def test_all_matchers_must_hold() -> None:
    matchers = parse_matchers('severity=~"critical|warning",namespace!="kube-system"')

    assert all_match(matchers, {"severity": "warning", "namespace": "shop"})
    assert not all_match(matchers, {"severity": "warning", "namespace": "kube-system"})
    assert not all_match(matchers, {"severity": "info", "namespace": "shop"})


def test_half_a_surrogate_pair_in_a_label_is_only_another_value() -> None:
    assert not parse_matcher('a=~"x"').matches({"a": "\ud800"})


def test_matchers_of_the_same_text_are_equal_and_hash_alike() -> None:
    assert len({parse_matcher('a=~"x"'), parse_matcher("a=~x")}) == 1


@given(NAMES, st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL]), VALUES)
def test_what_was_printed_is_read_back(name: str, operator: Operator, value: str) -> None:
    matcher = Matcher(name, operator, value)

    assert parse_matcher(str(matcher)) == matcher
    assert parse_matchers(f"{{{matcher},{matcher}}}") == (matcher, matcher)


@given(NAMES, st.from_regex(r"[a-z.*+|\[\]()\\d?^$\"]{0,12}", fullmatch=True))
def test_what_was_printed_of_a_regular_expression_is_read_back(name: str, pattern: str) -> None:
    try:
        matcher = Matcher(name, Operator.MATCHES, pattern)
    except ValueError:
        return

    assert parse_matcher(str(matcher)) == matcher


@given(st.text(st.sampled_from("ab{}=!~,\\\"' \n\t🙂xnu0"), max_size=40) | st.text(max_size=40))
def test_any_text_is_a_matcher_or_a_sentence(text: str) -> None:
    try:
        parse_matchers(text)
    except ValueError as error:
        assert len(str(error)) > 20


@pytest.mark.parametrize(
    "text",
    ["{" * 4_000, 'a="' + "\\" * 4_000, "a=" + '"' * 4_000, "," * 4_000, " " * 4_000, '"' + 'a"' * 2_000, "a " * 2_000],
)
def test_hostile_texts_are_refused_at_once(text: str) -> None:
    before = process_time()

    with pytest.raises(ValueError, match="'"):
        parse_matchers(text)

    assert process_time() - before < 0.25


def test_a_hostile_regular_expression_takes_linear_time() -> None:
    matcher = parse_matcher('a=~"(x+x+)+y"')
    before = process_time()

    assert not matcher.matches({"a": "x" * 100_000})
    assert process_time() - before < 0.5
