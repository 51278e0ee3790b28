"""DSPy's upload of training data, which is what its fine-tuning begins with."""

from dspy.clients.openai import OpenAIProvider
from steps import SOURCE, say

say("upload", id=OpenAIProvider.upload_data(str(SOURCE)))
