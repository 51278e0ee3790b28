"""DSPy's handling of training data: what its fine-tuning begins with, and what a cancelled one ends with."""

from dspy.clients.openai import OpenAIProvider, TrainingJobOpenAI
from steps import SOURCE, say

file_id = OpenAIProvider.upload_data(str(SOURCE))
say("upload", id=file_id)
if OpenAIProvider.does_file_exist(file_id):
    say("retrieve", id=file_id)
job = TrainingJobOpenAI()
job.provider_file_id = file_id
job.cancel()
say("delete", deleted=not OpenAIProvider.does_file_exist(file_id))
