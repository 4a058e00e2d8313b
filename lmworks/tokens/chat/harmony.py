"""The chat template of a gpt-oss file that has none, as Ollama's own: OpenAI's harmony format
(https://github.com/openai/harmony), with the answer begun in the channel `final`, so that what is written is the answer
and no thoughts come before it. Tools are shown as to any model whose template knows none."""

from __future__ import annotations

from collections.abc import Container

MARKS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")
"""The control tokens that the template writes."""
HARMONY = """<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
Knowledge cutoff: 2024-06
Current date: {{ strftime_now('%Y-%m-%d') }}

Reasoning: low

# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>
{%- for message in messages %}
    {%- if message.role == 'assistant' -%}
<|start|>assistant<|channel|>final<|message|>{{ message.content }}
        {%- if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}
    {%- elif message.role in ('system', 'developer') -%}
<|start|>developer<|message|># Instructions

{{ message.content }}

<|end|>
    {%- else -%}
<|start|>user<|message|>{{ message.content }}<|end|>
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|start|>assistant<|channel|>final<|message|>{% endif %}"""


def implied_template(tokens: Container[str]) -> str | None:
    """The template of a vocabulary whose file brings none; None where it lacks a control token of the format."""
    return HARMONY if all(mark in tokens for mark in MARKS) else None
