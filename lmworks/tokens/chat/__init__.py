"""Conversations: the template that writes them as text, the sandbox it runs in, and their token ids."""
