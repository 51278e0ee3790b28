"""The official package of any release."""

from openai import OpenAI
from steps import five

five(OpenAI())
