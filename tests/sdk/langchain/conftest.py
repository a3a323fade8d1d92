"""Which of LangChain's tests a model of 135 million parameters is too small for, and why.

Each of them may pass. Should one fail, then only with what the model wrote: whatever the gateway refuses or breaks off, and
whatever the client can't read, fails the suite here as anywhere.
"""

import openai
import pytest
from langchain_core.exceptions import OutputParserException
from pydantic import ValidationError

# What the tests and the client say of an answer that came, and is not what was hoped for.
ABOUT_THE_ANSWER = (AssertionError, openai.LengthFinishReasonError, OutputParserException, ValidationError)

CHOICE = "left the choice, so small a model answers by itself instead of calling the tool"
ENDLESS = "the schema sets strings no end, and so small a model repeats itself up to the answer's limit"
TOO_SMALL = {
    "test_agent_loop": CHOICE,
    "test_structured_output": ENDLESS,
    "test_structured_output_async": ENDLESS,
    "test_structured_output_pydantic_2_v1": ENDLESS,
    "test_structured_output_optional_param": ENDLESS,
    "test_json_mode": ENDLESS,
}


def pytest_collection_modifyitems(items):
    for item in items:
        if reason := TOO_SMALL.get(item.originalname):
            item.add_marker(pytest.mark.xfail(reason=reason, raises=ABOUT_THE_ANSWER, strict=False))
