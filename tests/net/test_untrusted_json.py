import pytest

from pytest_llmperf.net.untrusted_json import MOST_LEVELS, parsed, parsed_object


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return opening * levels + closing * levels


@pytest.mark.parametrize(
    "text",
    [
        nested(MOST_LEVELS + 1),
        '{"a": ' * (MOST_LEVELS + 1) + "1" + "}" * (MOST_LEVELS + 1),
        nested(400),
        nested(100_000),
        "[" * 1_000_000,
        '{"version": ' * 50_000,
        "9" * 100_000,
        "{",
        "",
        "\ufeff{}",
    ],
    ids=lambda text: f"{text[:12]}...{len(text)}",
)
@pytest.mark.parametrize("kind", [str, lambda text: text.encode()], ids=["text", "bytes"])
def test_whatever_is_wrong_is_a_value_error(text: str, kind) -> None:
    """No depth, number or torn text is another kind of error."""
    if text.startswith("\ufeff") and kind is not str:
        assert parsed(kind(text)) == {}
        return
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is the point
        parsed(kind(text))


def test_bytes_that_are_no_text() -> None:
    """Neither UTF-8 nor anything else."""
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        parsed(b'{"a": "\xff\xfe"}')


def test_as_many_levels_as_allowed() -> None:
    """And brackets in texts are no levels."""
    value = parsed(nested(MOST_LEVELS))
    assert repr(value) == nested(MOST_LEVELS)
    assert parsed_object('{"a": "' + "[" * 1000 + '"}') == {"a": "[" * 1000}


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_something_else_than_an_object(text: str) -> None:
    """The error says what it is."""
    with pytest.raises(ValueError, match="wanted a JSON object, got "):
        parsed_object(text)
