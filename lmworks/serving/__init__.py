"""A model for programs and people elsewhere: OpenAI's API over HTTP, metrics, and a look inside."""
