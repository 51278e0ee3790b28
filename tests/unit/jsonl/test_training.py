"""Fine-tuning examples, rule by rule: what passes, and which member a fault names."""

from typing import Any

import pytest

from filestead.decoders import DECODERS
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.members import LineFault
from filestead.domain.jsonl.training import TrainingLines
from tests.unit.jsonl import verdicts

MISSING = object()

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hello?"}
ANSWER = {"role": "assistant", "content": "Hello."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}
PREFERENCE = {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}
OLD_PREFERENCE = {"input": {"messages": [USER]}, "preferred_completion": [ANSWER], "non_preferred_completion": [ANSWER]}
COMPLETIONS = {"prompt": "a", "completion": "b"}
SUPERVISED = {"messages": [USER, ANSWER]}
REINFORCEMENT = {"messages": [SYSTEM, USER], "reference": 7}
BOTH = {"messages": [USER, ANSWER, USER]}


def chat(*messages: object, **members: object) -> dict[str, Any]:
    return {"messages": list(messages), **members}


def changed(holder: dict[str, Any], **members: object) -> dict[str, Any]:
    return {name: value for name, value in (holder | members).items() if value is not MISSING}


def fault_of(*lines: dict[str, Any]) -> str | None:
    return verdicts.fault_of(ContentCheck.TRAINING, TrainingLines, *lines)


@pytest.mark.parametrize(
    "line",
    [
        chat(USER, ANSWER),
        chat(ANSWER),
        chat(SYSTEM, USER, ANSWER, USER, ANSWER),
        chat({"role": "developer", "content": "Be brief."}, USER, changed(ANSWER, name="bot")),
        chat(SYSTEM, USER, reference={"a": 1}, prompt=7),
        chat(USER, changed(ANSWER, weight=0), USER, changed(ANSWER, weight=1)),
        chat(USER, changed(ANSWER, weight=None, refusal=None, tool_calls=None, function_call=None)),
        chat(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}),
        chat(
            USER,
            {"role": "assistant", "tool_calls": [CALL, CALL]},
            {"role": "tool", "tool_call_id": "1", "content": ""},
        ),
        chat(USER, {"role": "assistant", "content": "Look.", "tool_calls": [CALL]}),
        chat(USER, {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": ""}}),
        chat(USER, {"role": "assistant", "refusal": "No."}),
        chat(
            USER, {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": ""}]}
        ),
        chat(USER, {"role": "function", "name": "look", "content": None}, ANSWER),
        chat(USER, {"role": "function", "name": "look", "content": "{}"}, ANSWER),
        chat({"role": "user", "content": [{"type": "text", "text": "What?"}, *[IMAGE] * 10]}, ANSWER),
        chat({"role": "user", "content": [changed(IMAGE, image_url="http://example.org")]}, ANSWER),
        chat({"role": "user", "content": [changed(IMAGE, image_url="data:image/png;base64,AAAA")]}, ANSWER),
        chat({"role": "user", "content": [changed(IMAGE, image_url={"url": "HTTPS://example.org"})]}, ANSWER),
        chat({"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, USER, ANSWER),
        chat({"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}]}, ANSWER),
        chat(USER, ANSWER, tools=[TOOL], parallel_tool_calls=False, functions=[{"name": "look"}] * 128),
        chat(USER, ANSWER, tools=[], parallel_tool_calls=None, functions=None),
        PREFERENCE,
        OLD_PREFERENCE,
        changed(PREFERENCE, input={"messages": [SYSTEM, USER], "tools": [TOOL], "parallel_tool_calls": True}),
        changed(PREFERENCE, preferred_output=[ANSWER, {"role": "tool", "tool_call_id": "1", "content": "a"}]),
        COMPLETIONS,
        {"prompt": "", "completion": "", "note": 1},
    ],
)
def test_examples_are_well_formed(line: dict[str, Any]) -> None:
    assert fault_of(line) is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({}, "there is no 'messages', no 'input' with two outputs, and no 'prompt' with 'completion'"),
        ({"text": "a"}, "there is no 'messages', "),
        ({"messages": None}, "'messages' is null; expected a non-empty list"),
        ({"messages": {}}, "'messages' is an object; expected a non-empty list"),
        (chat(), "'messages' is an empty list; expected a non-empty list"),
        (chat("hello", ANSWER), "'messages[0]' is 'hello'; expected an object"),
        (chat(SYSTEM), "'messages' has no assistant message; expected one, or a user message at the end"),
        (chat(USER, SYSTEM), "'messages' has no assistant message; expected one, or a user message at the end"),
        (
            chat(USER, changed(ANSWER, weight=1), changed(ANSWER, role="bot")),
            "'messages[2].role' is 'bot'; expected one ",
        ),
        (chat(changed(USER, role=MISSING), ANSWER), "'messages[0].role' is missing"),
        (chat(changed(USER, role=["user"]), ANSWER), "'messages[0].role' is a list; expected one of 'system', "),
    ],
)
def test_faults_of_conversations(line: dict[str, Any], fault: str) -> None:
    assert str(fault_of(line)).startswith(fault)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (changed(USER, content=MISSING), "content' is missing"),
        (changed(USER, content=None), "content' is null; expected a string or a list of parts"),
        (changed(USER, content=7), "content' is a number; expected a string or a list of parts"),
        (changed(USER, content=[]), "content' is an empty list; expected a non-empty list"),
        (changed(USER, content=["a"]), "content[0]' is 'a'; expected an object"),
        (changed(USER, content=[{"type": "text"}]), "content[0].text' is missing"),
        (changed(USER, content=[IMAGE, {"text": "a"}]), "content[1].type' is missing"),
        (
            changed(USER, content=[{"type": "refusal", "refusal": "a"}]),
            "content[0].type' is 'refusal'; expected one of ",
        ),
        (changed(USER, content=[changed(IMAGE, image_url=MISSING)]), "content[0].image_url' is missing"),
        (
            changed(USER, content=[changed(IMAGE, image_url=["http://a"])]),
            "content[0].image_url' is a list; expected an h",
        ),
        (
            changed(USER, content=[changed(IMAGE, image_url="ftp://a")]),
            "content[0].image_url' is 'ftp://a'; expected an h",
        ),
        (changed(USER, content=[changed(IMAGE, image_url={})]), "content[0].image_url.url' is missing"),
        (
            changed(USER, content=[changed(IMAGE, image_url={"url": "a.png"})]),
            "content[0].image_url.url' is 'a.png'; exp",
        ),
        (changed(SYSTEM, content=MISSING), "content' is missing"),
        (changed(SYSTEM, content=[IMAGE]), "content[0].type' is 'image_url'; expected 'text'"),
        (changed(ANSWER, content=[IMAGE]), "content[0].type' is 'image_url'; expected one of 'text', 'refusal'"),
        (changed(ANSWER, content=None), "content' is null; expected a string or a list of parts"),
        (changed(ANSWER, content=MISSING, weight=1), "content' is missing"),
        (changed(ANSWER, content={}, tool_calls=[CALL]), "content' is an object; expected a string or a list of parts"),
        (changed(ANSWER, weight=2), "weight' is a number; expected 0 or 1"),
        (changed(ANSWER, weight=1.0), "weight' is a number; expected 0 or 1"),
        (changed(ANSWER, weight=True), "weight' is true; expected 0 or 1"),
        (changed(ANSWER, refusal=1), "refusal' is a number; expected a string"),
        (changed(ANSWER, tool_calls=[]), "tool_calls' is an empty list; expected a non-empty list"),
        (
            changed(ANSWER, tool_calls=[changed(CALL, id="")]),
            "tool_calls[0].id' is an empty string; expected a non-empty",
        ),
        (
            changed(ANSWER, tool_calls=[CALL, changed(CALL, type="tool")]),
            "tool_calls[1].type' is 'tool'; expected 'functi",
        ),
        (changed(ANSWER, tool_calls=[changed(CALL, type=MISSING)]), "tool_calls[0].type' is missing"),
        (changed(ANSWER, tool_calls=[changed(CALL, function=MISSING)]), "tool_calls[0].function' is missing"),
        (
            changed(ANSWER, tool_calls=[changed(CALL, function={"arguments": ""})]),
            "tool_calls[0].function.name' is mis",
        ),
        (
            changed(ANSWER, tool_calls=[changed(CALL, function={"name": "a", "arguments": {}})]),
            "tool_calls[0].function.arguments' is an object; expected a string",
        ),
        (changed(ANSWER, function_call={"name": "look"}), "function_call.arguments' is missing"),
        ({"role": "tool", "content": "a"}, "tool_call_id' is missing"),
        (
            {"role": "tool", "tool_call_id": "1", "content": None},
            "content' is null; expected a string or a list of parts",
        ),
        ({"role": "function", "content": "a"}, "name' is missing"),
        ({"role": "function", "name": "look"}, "content' is missing"),
    ],
)
def test_faults_of_messages(message: dict[str, Any], fault: str) -> None:
    assert str(fault_of(chat(USER, message, ANSWER))).startswith("'messages[1]." + fault)


def test_a_line_has_at_most_ten_images_over_all_its_messages() -> None:
    six = changed(USER, content=[IMAGE] * 6)
    assert fault_of(chat(six, ANSWER, changed(USER, content=[IMAGE] * 4), ANSWER)) is None
    five = changed(USER, content=[IMAGE] * 5)
    assert fault_of(chat(six, ANSWER, five, ANSWER)) == "'messages' has 11 images; expected at most 10"
    assert fault_of(changed(PREFERENCE, input=chat(six, six))) == "'input.messages' has 12 images; expected at most 10"


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"tools": {}}, "'tools' is an object; expected a list"),
        ({"tools": [changed(TOOL, type="web_search")]}, "'tools[0].type' is 'web_search'; expected 'function'"),
        ({"tools": [TOOL, changed(TOOL, function=MISSING)]}, "'tools[1].function' is missing"),
        ({"tools": [changed(TOOL, function={})]}, "'tools[0].function.name' is missing"),
        ({"parallel_tool_calls": 1}, "'parallel_tool_calls' is a number; expected true or false"),
        ({"functions": []}, "'functions' is an empty list; expected a non-empty list"),
        ({"functions": [{"name": "look"}] * 129}, "'functions' has 129 members; expected at most 128"),
        ({"functions": [{"name": ""}]}, "'functions[0].name' is an empty string; expected a non-empty string"),
    ],
)
def test_faults_of_tools(members: dict[str, Any], fault: str) -> None:
    assert fault_of(chat(USER, ANSWER, **members)) == fault
    assert fault_of(changed(PREFERENCE, input=chat(USER, **members))) == fault.replace("'", "'input.", 1)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (changed(PREFERENCE, input=MISSING), "'input' is missing"),
        (changed(PREFERENCE, input="Hello?"), "'input' is 'Hello?'; expected an object"),
        (changed(PREFERENCE, input={}), "'input.messages' is missing"),
        (
            changed(PREFERENCE, input=chat(changed(USER, content=7))),
            "'input.messages[0].content' is a number; expected a",
        ),
        (changed(PREFERENCE, preferred_output=MISSING), "'preferred_output' is missing"),
        (changed(PREFERENCE, non_preferred_output=MISSING), "'non_preferred_output' is missing"),
        (changed(PREFERENCE, preferred_output=[]), "'preferred_output' is an empty list; expected a non-empty list"),
        (changed(PREFERENCE, preferred_output=ANSWER), "'preferred_output' is an object; expected a non-empty list"),
        (
            changed(PREFERENCE, preferred_output=[USER]),
            "'preferred_output[0].role' is 'user'; expected one of 'assistant'",
        ),
        (
            changed(PREFERENCE, non_preferred_output=[ANSWER, changed(ANSWER, content=7)]),
            "'non_preferred_output[1].content' is a number",
        ),
        (changed(OLD_PREFERENCE, preferred_completion=MISSING), "'preferred_completion' is missing"),
        (changed(OLD_PREFERENCE, non_preferred_completion=MISSING), "'non_preferred_completion' is missing"),
        ({"input": chat(USER)}, "'preferred_output' is missing"),
        ({"prompt": "a"}, "'completion' is missing"),
        ({"completion": "a"}, "'prompt' is missing"),
        ({"prompt": ["a"], "completion": "b"}, "'prompt' is a list; expected a string"),
        ({"prompt": "a", "completion": None}, "'completion' is null; expected a string"),
    ],
)
def test_faults_of_other_methods(line: dict[str, Any], fault: str) -> None:
    assert str(fault_of(line)).startswith(fault)


@pytest.mark.parametrize(
    "lines",
    [
        [SUPERVISED, SUPERVISED, BOTH],
        [REINFORCEMENT, BOTH, REINFORCEMENT],
        [BOTH, SUPERVISED],
        [BOTH, BOTH, REINFORCEMENT],
        [PREFERENCE, OLD_PREFERENCE],
        [COMPLETIONS, COMPLETIONS],
    ],
)
def test_files_of_one_method(lines: list[dict[str, Any]]) -> None:
    assert fault_of(*lines) is None


@pytest.mark.parametrize(
    ("lines", "kind", "expected"),
    [
        ([SUPERVISED, BOTH, REINFORCEMENT], "reinforcement", "supervised chat"),
        ([BOTH, REINFORCEMENT, SUPERVISED], "supervised chat", "reinforcement"),
        ([BOTH, COMPLETIONS], "completions", "supervised chat or reinforcement"),
        ([PREFERENCE, BOTH], "supervised chat or reinforcement", "preference"),
        ([COMPLETIONS, PREFERENCE], "preference", "completions"),
    ],
)
def test_files_of_mixed_methods(lines: list[dict[str, Any]], kind: str, expected: str) -> None:
    assert fault_of(*lines) == f"this is a {kind} example; expected {expected}, as in the lines before"


def test_only_well_formed_examples_set_the_method() -> None:
    checks = TrainingLines(DECODERS)
    with pytest.raises(LineFault):
        checks.check(1, {"prompt": "a"})
    checks.check(2, SUPERVISED)
    with pytest.raises(LineFault, match="expected supervised chat"):
        checks.check(3, COMPLETIONS)
    checks.check(4, SUPERVISED)
