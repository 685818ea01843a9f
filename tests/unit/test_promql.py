"""No query of a namespace sees another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.promql import MAX_LENGTH, confined, escape

FENCED = {
    "a bare metric": ("up", 'up{namespace="red"}'),
    "everything there is": ('{__name__=~".+"}', '{__name__=~".+", namespace="red"}'),
    "its own namespace": ('up{namespace="red"}', 'up{namespace="red"}'),
    "both sides of a division": ("a / b", 'a{namespace="red"} / b{namespace="red"}'),
    "the second of an or": ('a{b="c"} or d', 'a{b="c", namespace="red"} or d{namespace="red"}'),
    "a range": ("rate(a[5m])", 'rate(a{namespace="red"}[5m])'),
    "a subquery": ("max_over_time(rate(a[5m])[1h:1m])", 'max_over_time(rate(a{namespace="red"}[5m])[1h:1m])'),
    "an offset": ("a offset -5m", 'a{namespace="red"} offset -5m'),
    "the end": ("a @ end() offset 1w", 'a{namespace="red"} @ end() offset 1w'),
    "what is absent": ("absent(up)", 'absent(up{namespace="red"})'),
    "an aggregation that drops the label": ("sum by () (up)", 'sum by () (up{namespace="red"})'),
    "an aggregation without it": ("sum without (namespace) (up)", 'sum without (namespace) (up{namespace="red"})'),
    "a parameter that is a query": (
        "topk(scalar(count(a)), b)",
        'topk(scalar(count(a{namespace="red"})), b{namespace="red"})',
    ),
    "a join": (
        "a * on (x) group_left (y) b",
        'a{namespace="red"} * on (x) group_left (y) b{namespace="red"}',
    ),
    "a label that is written over": (
        'label_replace(up, "namespace", "blue", "", "")',
        'label_replace(up{namespace="red"}, "namespace", "blue", "", "")',
    ),
    "a quoted metric": ('{"a.b", "c.d"="e"}', '{__name__="a.b", "c.d"="e", namespace="red"}'),
    "a comment that opens a brace": ("up # {", 'up{namespace="red"}'),
    "a comment between name and matchers": ('up#}\n{a="b"}', 'up{a="b", namespace="red"}'),
    "a brace in a string": ('up{a="}"}', 'up{a="}", namespace="red"}'),
    "a quote in a string": ("up{a='\"} or b{c=\"'}", 'up{a="\\"} or b{c=\\"", namespace="red"}'),
    "a backslash before the quote": ('up{a="\\\\"}', 'up{a="\\\\", namespace="red"}'),
    "a raw string": ("up{a=~`x.*y`}", 'up{a=~"x.*y", namespace="red"}'),
    "an escape that is a brace": ('up{a="\\x7d\\u007b"}', 'up{a="}{", namespace="red"}'),
    "a metric that is called by a keyword": ("offset offset 5m", 'offset{namespace="red"} offset 5m'),
    "an aggregation's name as a metric": ('sum{a="b"}', 'sum{a="b", namespace="red"}'),
    "no series at all": ("vector(1) > bool 0.5", "vector(1) > bool 0.5"),
}

REFUSED = {
    "another namespace": ('up{namespace="blue"}', "is about other namespaces than red"),
    "another namespace that is absent": ('absent(up{namespace="blue"})', "is about other namespaces"),
    "another namespace beside its own": ('up{namespace="red", namespace="blue"}', "is about other namespaces"),
    "a pattern of namespaces": ('up{namespace=~"red|blue"}', "is about other namespaces"),
    "all namespaces but one": ('up{namespace!="red"}', "is about other namespaces"),
    "no namespace": ('up{namespace=""}', "is about other namespaces"),
    "the label in quotes": ('{"namespace"="blue"}', "is about other namespaces"),
    "the label in other quotes": ("{'namespace'=`blue`}", "is about other namespaces"),
    "one of two that hides behind the other": ('up{namespace="red"} or up{namespace="blue"}', "is about other"),
    "or between matchers": ('{namespace="red" or job="blue"}', "has `or` between its matchers"),
    "a function that looks series up by itself": ("info(up)", "it uses info()"),
    "an experiment": ("limitk(1, up)", "it uses limitk()"),
    "a function that nobody knows": ("everything(up)", "it is not PromQL"),
    "a time, which the parser does not keep": ("up @ 1609746000", "`@` takes start() or end()"),
    "a time before 1970, at which the parser panics": ("up @ -5", "`@` takes start() or end()"),
    "an offset at which the parser panics": ("up offset Inf", "the parser cannot read it"),
    "values for what is missing": ("a + fill (1) b", "it uses fill"),
    "what cannot be seen": ('up{a="\u202e"}', "cannot be seen"),
    "a null byte": ('up{a="\\x00"}', "cannot be seen"),
    "a brace that is not closed": ('up{a="b"', "it is not PromQL"),
    "a raw string that ends elsewhere for others": ("up{a=`\\`} or up{b=`c`}", "it is not PromQL"),
    "a raw string with a backslash": ("up{a=~`\\d`}", "it is not PromQL"),
    "two queries": ('up{namespace="red"} up', "it is not PromQL"),
    "nothing": ("", "it is not PromQL"),
    "what is nested too deeply": ("(" * 100 + "up" + ")" * 100, "it is nested deeper than"),
    "a chain that is too long": ("up" + " + up" * 100, "it is nested deeper than"),
    "what is too long": ("up" + " " * MAX_LENGTH, "a query has at most"),
}


@pytest.mark.parametrize(("query", "fenced"), FENCED.values(), ids=FENCED)
def test_every_selector_is_confined_and_the_rest_stays(query: str, fenced: str) -> None:
    assert confined(query, "red") == fenced


@pytest.mark.parametrize(("query", "why"), REFUSED.values(), ids=REFUSED)
def test_a_query_that_cannot_be_confined_is_refused(query: str, why: str) -> None:
    with pytest.raises(ValueError) as refusal:
        confined(query, "red")

    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "query",
    [
        "up",
        'a{namespace="red"} or b',
        'a{namespace="blue"}',
        'a{namespace=~"red"}',
        'a{namespace="red", namespace="blue"}',
        'rate(a{namespace="red"}[5m]) + max_over_time(b[5m:])',
        '{namespace="red" or job="x"}',
    ],
)
def test_what_was_written_is_not_taken_on_trust(query: str) -> None:
    assert "is not confined to namespace red" in escape(query, "red")


NAMES = st.sampled_from(["up", "a:b", "offset", "by", "sum", "http_requests_total"])
LABELS = st.sampled_from(["a", "job", '"c.d"', "by", "exported_namespace", '"namespaces"'])
STRINGS = st.text("ab}{\"'`\\# ,=~[]()\n", max_size=6).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
)
MATCHERS = st.lists(st.builds("{}{}{}".format, LABELS, st.sampled_from(["=", "!="]), STRINGS), max_size=3)
MOVED = st.sampled_from(["", " offset 5m", " offset -1h30m", " @ end()", " @ start() offset 2d"])
SELECTORS = st.builds(lambda name, matchers: f"{name}{{{', '.join(matchers)}}}", NAMES, MATCHERS)
INSTANT = st.builds("{}{}".format, SELECTORS, MOVED)
RANGES = st.builds("{}({}[{}]{})".format, st.sampled_from(["rate", "last_over_time"]), SELECTORS, st.just("5m"), MOVED)


def _larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    words = ["+", "- on (a)", "> bool", "or", "unless ignoring (a)", "* on (a) group_left (b)", "and # }\n"]
    return st.one_of(
        st.builds("({} {} {})".format, smaller, st.sampled_from(["or", "and", "unless"]), smaller),
        st.builds("({}) {} ({})".format, smaller, st.sampled_from(words), smaller),
        st.builds("{}({})".format, st.sampled_from(["abs", "absent", "sum by (a)", "max", "-", "sort"]), smaller),
        st.builds("topk({}, {})".format, st.integers(1, 9), smaller),
        st.builds("max_over_time(({})[{}]{})".format, smaller, st.sampled_from(["1h:", "1h:5m"]), MOVED),
    )


@given(st.recursive(st.one_of(INSTANT, RANGES), _larger, max_leaves=8))
def test_whatever_is_asked_every_selector_carries_the_namespace(query: str) -> None:
    fenced = confined(query, "red")

    assert escape(fenced, "red") == ""
    assert confined(fenced, "red") == fenced
    assert fenced.count('namespace="red"') >= 1


@given(st.text("up{}()[]\"'`\\#=~!,@ab5m:01-+*/ \n", max_size=40))
def test_whatever_is_written_is_refused_or_confined(query: str) -> None:
    try:
        fenced = confined(query, "red")
    except ValueError:
        return
    assert escape(fenced, "red") == ""
