"""What counts as an answer."""

import pytest

from remediator.domain.questions import Ask, Manual, objection


@pytest.mark.parametrize(
    ("answer", "answers", "mask", "sentence"),
    [
        ("yes, do", ["yes, do", "leave it"], "", ""),
        ("Yes, do", ["yes, do"], "", "must be one of yes, do, is Yes, do"),
        ("anything", [], "", ""),
        ("", [], "", "an answer is not empty"),
        ("12", [], "[0-9]+", ""),
        ("12 pods", [], "[0-9]+", "must match [0-9]+ as a whole, is 12 pods"),
        ("12\n", [], "[0-9]+", "must match [0-9]+ as a whole"),
    ],
)
def test_an_answer_is_one_of_those_that_are_asked_for(
    answer: str, answers: list[str], mask: str, sentence: str
) -> None:
    said = objection(answer, answers, mask)

    assert (sentence in said) if sentence else said == ""


def test_a_question_waits_for_an_hour_unless_it_says_otherwise() -> None:
    assert Ask(question="Why?").within == Manual(do="Look.").within
    assert Ask(question="Why?").within.total_seconds() == 3600


def test_something_to_do_holds_the_run_up_unless_it_says_otherwise() -> None:
    assert Manual(do="Look.").is_blocking
    assert not Manual(do="Look.", blocking=False).is_blocking


@pytest.mark.parametrize("pattern", ["(?=a)", "(", r"\1"])
def test_a_pattern_is_one_of_re2(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a regular expression of RE2"):
        Ask(question="Why?", pattern=pattern)
