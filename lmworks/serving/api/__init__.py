"""The endpoints: OpenAI's API, and those of this server."""
