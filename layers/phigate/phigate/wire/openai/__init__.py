"""OpenAI's chat completions: the shape of a request, and answers as the caller gets them.

https://platform.openai.com/docs/api-reference/chat
"""
