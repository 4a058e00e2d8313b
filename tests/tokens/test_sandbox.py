"""Hostile templates: each is stopped in about a second, in bounded memory, with one sentence."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmworks.basics.errors import LmworksError, ModelError
from lmworks.tokens.chat.sandbox import sandbox
from lmworks.tokens.chat.template import ChatTemplate

MESSAGES = [{"role": "user", "content": "hi"}]
GROW = "{% set ns = namespace(x='aaaaaaa', l=[1], d={}) %}{% for i in range(90) %}{% set ns.@ = ! %}{% endfor %}"


def grow(name: str, expression: str) -> str:
    return GROW.replace("@", name).replace("!", expression)


BOMBS = {
    "attribute walk": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attribute walk by item": "{{ ''['__class__']['__mro__'] }}",
    "attribute walk by filter": "{{ [[]] | map(attribute='__class__.__base__') | list }}",
    "self": "{{ self.__init__.__globals__ }}",
    "a macro's function": "{% macro f() %}{% endmacro %}{{ f._func.__globals__ }}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "nested filtered loops": "{% for a in range(9**5) %}{% for b in range(9**5) if b < 0 %}{% endfor %}{% endfor %}",
    "nested loops over a list": "{% set r = range(9**5) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "a huge range": "{% for a in range(10**12) %}x{% endfor %}",
    "ranges as lists": "{% for a in range(99999) %}{% set x = range(99999) | list %}{% endfor %}",
    "multiplied text": "{{ 'a' * 10**10 }}",
    "multiplied text from the left": "{{ 9999999999 * 'a' }}",
    "a multiplied list": "{{ ([1] * 10**10) | length }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "squared numbers": GROW.replace("'aaaaaaa'", "3").replace("@", "x").replace("!", "ns.x * ns.x"),
    "a number of many digits": "{% set x = ('f' * 3000000) | int(base=16) %}{% set y = x * x %}",
    "printf": "{{ '%9999999999d' % 1 }}",
    "format": "{{ '{:>9999999999}'.format(1) }}",
    "center": "{{ 'a'.center(9999999999) }}",
    "zfill": "{{ 'a'.zfill(9999999999) }}",
    "the center filter": "{{ 'a' | center(9999999999) }}",
    "indent": "{{ 'a\nb' | indent(9999999999) }}",
    "many indented lines": "{{ 'a\n'*100000|indent(10**9) }}",
    "JSON with long separators": "{{ ([0]*9999)|tojson(separators=('a'*100000,'b')) }}",
    "indented JSON": "{{ [1] | tojson(indent=9999999999) }}",
    "strftime": "{{ strftime_now('%9999999d') }}",
    "doubled by +": grow("x", "ns.x + ns.x"),
    "doubled by ~": grow("x", "ns.x ~ ns.x"),
    "doubled by replace": grow("x", "ns.x | replace('a', 'aa')"),
    "doubled by replacing nothing": grow("x", "ns.x.replace('', 'aa')"),
    "joined with itself": grow("x", "ns.x.join(ns.x)"),
    "filtered by itself": grow("x", "ns.x | join(ns.x)"),
    "JSON of JSON": grow("x", "ns.x | tojson | tojson"),
    "a doubled list": grow("l", "ns.l + ns.l"),
    "a list of itself twice": grow("l", "[ns.l, ns.l]") + "{{ ns.l }}",
    "an object of itself twice": grow("d", "{'a': ns.d, 'b': ns.d}") + "{{ ns.d }}",
    "dict() of itself twice": grow("d", "dict(a=ns.d, b=ns.d)") + "{{ ns.d | tojson }}",
    "a namespace of itself twice": grow("x", "namespace(a=ns.x, b=ns.x)") + "{{ ns.x }}",
    "deep tuples as a key": "{% set ns = namespace(x=()) %}{% for i in range(9**5) %}{% set ns.x = (ns.x,) %}"
    "{% endfor %}{% set d = {ns.x: 1} %}{{ d }}",
    "endless recursion": "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "forking recursion": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for x in [[1]] recursive %}{{ loop([x, x]) }}{{ loop([x, x]) }}{% endfor %}",
    "a block full": "{% set x = 'a' * 1000000 %}{% set y %}" + "{{ x }}" * 5000 + "{% endset %}",
    "a long output": "{% set x = 'a' * 1000000 %}{% for i in range(99999) %}{{ x }}{% endfor %}",
    "a long concatenation": "{% set x = 'a' * 1000000 %}{% set y = " + "~".join(["x"] * 5000) + " %}",
    "many variables": "{% set x = 'a' * 9000000 %}" + "".join(f"{{% set x{i} = x[1:] %}}" for i in range(3000)),
    "slow comparisons": "{% set x = 'a' * 9000000 %}{% set y = 'a' * 9000000 %}" + "{{ x is eq y }}" * 5000,
    "slow sorting": "{{ range(99999) | list | sort(attribute='real') | length }}" * 50,
    "nested filter blocks": "{% filter replace('a', 'aaaaaaaaaaaaaaaa') %}" * 8 + "a" + "{% endfilter %}" * 8,
    "other templates": "{% include 'x' %}",
    "inheritance": "{% extends 'x' %}",
    "deep parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep blocks": "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "a long chain": "{{ 'a'" + "| trim" * 10000 + " }}",
    "a long source": "x" * 200_000,
    "changing a message": "{{ messages.append(1) }}",
    "division by zero": "{{ 1 / 0 }}",
    "broken syntax": "{% for %}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_template_is_stopped(name):
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    with pytest.raises(ModelError, match="the chat template of the model") as raised:
        ChatTemplate(BOMBS[name]).render(MESSAGES)
    assert "\n" not in str(raised.value)
    assert time.thread_time() - start < 3  # the budget is one; a slow machine may take a while to notice
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # kilobytes


def test_the_worker_s_own_memory_is_bounded():
    """These two allocate a gigabyte before anything could be counted."""
    sources = [BOMBS["many indented lines"], BOMBS["JSON with long separators"]]
    code = f"import resource\nfor source in {sources!r}: print(render(source))"
    said = in_a_process(f"{code}\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)").splitlines()
    assert ["far more memory" in one for one in said] == [True, True, False]
    assert int(said[-1]) < 200_000  # kilobytes


def test_a_warm_rendering_starts_no_process():
    """That is what makes it fast: a start takes 50 ms, a rendering 0.1."""
    template = ChatTemplate("{{ messages[0].content }}")
    worker = sandbox()._worker
    assert [template.render(MESSAGES) for _ in range(50)] == ["hi"] * 50
    assert worker is not None and sandbox()._worker is worker


@pytest.mark.parametrize(
    "source",
    [
        "{{ lipsum(n=99999999) }}",
        "{{ cycler('a').next() }}",
        "{% set ns = namespace() %}{{ ns.__init__.__globals__ }}",
    ],
)
def test_what_chat_templates_do_not_need_is_not_there(source):
    with pytest.raises(LmworksError):
        ChatTemplate(source).render(MESSAGES)


@pytest.mark.parametrize(
    "source", ["{{ 'a' * 10**9 }}", "{% for a in range(9**5) %}{% for b in range(9**5) %}{% endfor %}{% endfor %}"]
)
def test_a_hostile_template_costs_the_next_one_nothing(source):
    honest = ChatTemplate("{{ messages[0].content }}")
    with pytest.raises(ModelError):
        ChatTemplate(source).render(MESSAGES)
    assert honest.render(MESSAGES) == "hi"


def test_a_killed_worker_is_replaced():
    template = ChatTemplate("{{ messages[0].content }}")
    worker = sandbox()._worker
    worker.kill()
    worker.wait()
    assert template.render(MESSAGES) == "hi"
    assert sandbox()._worker is not worker


def test_an_interrupted_rendering_leaves_no_answer_for_the_next():
    """Ctrl-C while a conversation is rendered: another one must not get its text."""
    template, slow = (
        ChatTemplate("{{ messages[0].content }}"),
        ChatTemplate("{% for a in range(99999) %}{{ a }}{% endfor %}"),
    )
    template.render(MESSAGES)
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(1000):
            slow.render(MESSAGES)
    assert template.render(MESSAGES) == "hi"


def in_a_process(code: str, before: str = "") -> str:
    """What a program prints that renders a template in a process of its own."""
    program = f"""import os, signal, sys
from lmworks.tokens.chat.template import ChatTemplate
def render(source='{{{{ messages[0].content }}}}'):
    try:
        return ChatTemplate(source).render([{{'role': 'user', 'content': 'hi'}}])
    except Exception as error:
        return f'{{type(error).__name__}}: {{error}}'
{code}"""
    command = f"{before}exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_limit_on_memory_from_outside_is_kept():
    assert in_a_process("print(render())", before="ulimit -v 16000000; ") == "hi"


def test_the_time_bound_holds_where_its_signal_is_ignored():
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert "far more time" in in_a_process(f"signal.signal(signal.SIGPROF, signal.SIG_IGN); print(render({loop!r}))")


def test_a_fork_has_a_worker_of_its_own():
    code = """print(render(), flush=True)
child = os.fork()
if not child:
    print(render(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(render())"""
    assert in_a_process(code).split() == ["hi"] * 3


def test_a_worker_that_does_not_start_is_not_the_templates_fault():
    said = in_a_process("sys.executable = '/bin/true'; print(render())")
    assert "no process could be started" in said and "ended with 0" in said


def test_a_number_that_json_cannot_write_is_one_sentence():
    with pytest.raises(ModelError, match="cannot be written as JSON"):
        ChatTemplate("{{ messages }}").render([{"role": "user", "content": "hi", "count": 10**5000}])


def test_threads_take_turns():
    templates = [ChatTemplate(f"{number} {{{{ messages[0].content }}}}") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda one: one.render(MESSAGES), templates * 20))
    assert texts == [f"{number} hi" for number in range(8)] * 20


def test_a_long_honest_conversation_is_not_stopped():
    """2,000 turns, 8 MB in all, through a template that looks at each of them several times."""
    source = (
        "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
        "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
        "{{ '<|im_start|>' + m.role + '\n' + m['content'] | trim + '<|im_end|>' }}"
        "{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip() }}{% endif %}"
        "{% endfor %}"
    )
    messages = [{"role": ("user", "assistant")[turn % 2], "content": "wörds " * 700} for turn in range(2000)]
    assert len(ChatTemplate(source).render(messages)) > 8_000_000
