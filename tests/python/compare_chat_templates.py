#!/usr/bin/env python3
"""Compares what limn makes of chat templates with Jinja as transformers sets it up.

    compare_chat_templates.py PROGRAM [FOLDER] [--goldens FILE]

PROGRAM is build/release/tests/render_templates. The templates are small ones written for each thing that
limn knows of Jinja, and those of FOLDER (*.jinja: the templates of real checkpoints), which are rendered
for conversations with and without a system message, tools, calls of tools and thoughts. Where Jinja
raises an error limn must refuse; where limn refuses what Jinja renders, that is counted and shown. Exits
with 1 when a text differs. --goldens writes the small templates with Jinja's texts, for
template_renderer_test.
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

VARIABLES = {
    "messages": [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": "Who wrote \"Emma\"? \u4ed6 \U0001f600"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nAusten", "n": 1.5, "list": [1, "b", None, True]},
        {"role": "user", "content": ""},
    ],
    "tools": None,
    "text": " a b\tc ",
    "data": {"b": {"x": 1}, "a": [], "c": {}, "s": "\u00e9\u0001\x7f\\\"/\n", "big": 12345678901234, "half": 0.5},
    "bos_token": "<s>",
    "add_generation_prompt": True,
}

SNIPPETS = [
    # White space around tags.
    "a\n  {% if true %}\n  b\n  {% endif %}\n c\n",
    "a\n  {%- if true -%}\n  b  {%- endif -%}\n c\n\n",
    "{% if true %}x{% endif %}\ny", "  {% if true %} x {% endif %} \n y", "a {# c #}\n b", "a\n {# c #} \nb", "{{- 'a' -}} \n b {{ 'c' }}\n\nd",
    "a\n  {%+ if true %} b{% endif %}\n", "{% if true +%}\nb{% endif %}", "a\r\nb\rc {{ 'x\r\ny' }}\r\n", " \n{% set a = 1 %}\n {% set b = 2 %}\n{{ a }}{{ b }}",
    "{% for m in messages %}\n  {{ loop.index }}\n{% endfor %}\nend", "{{ '}}' }}{{ \"%}\" }}{{ {'a': {'b': 1}}['a']['b'] }}", "{ { } } {a %", "\u00a0{%- if true %}x{% endif -%}\u2003y",
    # Strings.
    r"{{ 'a\n\t\\\'\"\x41\u00e9\d' }}", "{{ 'a\\\nb' }}", "{{ 'a' 'b' \"c\" }}", "{{ 'a' + 'b' ~ 1 ~ none ~ true ~ 1.5 }}", "{{ 'ab' * 3 }}", "{{ 'caf\u00e9'[3] }}{{ 'caf\u00e9'[-1] }}{{ 'caf\u00e9'[1:3] }}{{ 'abc'[::-1] }}{{ 'abc'[9] }}",
    "{{ text | trim }}|{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xyaxy'.lstrip('xy') }}|{{ '\u3000a\u00a0' | trim }}",
    "{{ 'a,b,,c'.split(',') | join('|') }}{{ ' a  b '.split() | join('|') }}{{ 'a,b,c'.split(',', 1) | join('|') }}{{ 'a</t>b'.split('</t>')[-1] }}",
    "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'b' in 'abc' }}{{ 'x' not in 'abc' }}", "{{ 'aXbX'.replace('X', 'yy') }}{{ 'aXbX'.replace('X', 'y', 1) }}{{ 'aa' | replace('a', 'b') }}",
    "{{ 'Stra\u00dfe'.upper() }}{{ '\u0130AB' | lower }}{{ '-'.join(['a', 'b']) }}", "{{ 'caf\u00e9' | length }}{{ messages | length }}{{ data | count }}", "{{ 1 | string ~ 'a' }}{{ true | string }}{{ none | string }}",
    # Numbers.
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 2 * 3 - 1 }} {{ 1.5 + 1 }} {{ 1e3 is defined }}", "{{ 1_000 }} {{ 2 + 3 * 4 }} {{ (2 + 3) * 4 }} {{ -2 * -3 }} {{ 5 - 3 - 1 }} {{ 1 ~ 2 * 3 }}{{ 5 ~ 3 }}", "{{ 1 == 1.0 }}{{ 1 < 2 < 3 }}{{ 3 > 2 >= 2 }}{{ 'a' < 'b' }}{{ 1 != 2 }}",
    "{{ 7 is odd }}{{ 7 is even }}{{ 6 is divisibleby 3 }}{{ 6 is divisibleby(4) }}", "{{ 0.1 + 0.2 }} {{ 100000000.0 * 100000000.0 }} {{ 1 / 3 }} {{ 0.00001 * 1 }}",
    # Truth.
    "{% if '' or [] or {} or 0 or none %}a{% elif 'x' and [1] %}b{% else %}c{% endif %}", "{{ '' or 'a' }}{{ 'a' and 'b' }}{{ not true }}{{ not none }}{{ none or 0 }}", "{{ 'a' if true else 'b' }}{{ 'a' if false }}{{ 'a' if false else 'b' if false else 'c' }}",
    "{{ missing is defined }}{{ missing is not defined }}{{ messages[0].x is undefined }}{{ none is none }}{{ missing }}{{ missing or 'd' }}{{ missing == missing2 }}{{ missing == none }}",
    "{{ 'a' is string }}{{ 1 is string }}{{ data is mapping }}{{ [] is mapping }}{{ [] is iterable }}{{ 'a' is iterable }}{{ 1 is iterable }}{{ [] is sequence }}{{ 1 is number }}{{ true is number }}{{ true is boolean }}{{ 1 is integer }}{{ 1.5 is float }}{{ true is true }}{{ 1 is true }}{{ false is false }}{{ none is iterable }}{{ missing is iterable }}",
    "{{ 'a' is equalto 'a' }}{{ 'a' is eq('b') }}{{ 'a' is in ['a'] }}{{ not 'a' is in ['a'] }}{{ 'a' is not in ['a'] }}{{ 1 is ne 2 }}", "{{ true and not false or false }}{{ not 1 == 2 }}{{ not messages is defined }}",
    # Lists and dictionaries.
    "{{ messages[0]['role'] }}{{ messages[-1].role }}{{ messages[0].nothing }}{{ messages[17] }}{{ messages.0.role }}", "{{ [1, 2, 3][1:] | join(',') }}{{ [1, 2, 3][::-1] | join(',') }}{{ [1, 2, 3][:-1] | join(',') }}{{ [1, 2, 3, 4][1:4:2] | join(',') }}{{ ([1] + [2]) | join(',') }}{{ (1, 2) | join(',') }}",
    "{% for k, v in data.items() %}{{ k }}={{ v | tojson }};{% endfor %}{% for k in data %}{{ k }}{% endfor %}{{ data.keys() | list | join(',') }}", "{{ data.get('a') | tojson }}{{ data.get('z') }}{{ data.get('z', 'no') }}{{ 'a' in data }}{{ 'z' in data }}", "{% set d = {'x': 1, 'y': [2]} %}{{ d.x }}{{ d['y'][0] }}{{ dict(a=1).a }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }}{{ messages | map(attribute='content') | list | length }}{{ messages | selectattr('n') | list | length }}{{ messages | selectattr('n', 'defined') | list | length }}{{ ['', 'a'] | select | join(',') }}",
    "{{ messages | first | tojson }}{{ (messages | last).role }}{{ [1, 2] | reverse | join(',') }}{{ [] | first }}{{ 'ab' | list | join('-') }}{{ data | items | list | length }}", "{{ messages[0] == messages[0] }}{{ messages[0] == messages[1] }}{{ [1, 2] == [1, 2] }}{{ {'a': 1} == {'a': 1} }}", "{{ missing | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ none | d('x') }}",
    # JSON.
    "{{ data | tojson }}", "{{ data | tojson(indent=2) }}", "{{ messages | tojson(indent=4) }}", "{{ 'a' | tojson }}{{ 1.0 | tojson }}{{ none | tojson }}{{ true | tojson }}{{ [] | tojson(indent=2) }}{{ data | tojson(sort_keys=true) }}",
    # Variables.
    "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% set ns = namespace(a=1, b='x') %}{% for m in messages %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t | join(',') }}",
    "{% set x %}a{{ 1 }}{% endset %}{{ x }}", "{% set messages = messages[1:] %}{{ messages | length }}{{ messages[0].role }}", "{% for m in messages %}{% set c = m.content %}{% if loop.first %}{% set c = 'F' + c %}{% endif %}[{{ c }}]{% endfor %}",
    # Loops.
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem.role if not loop.first }}{{ loop.nextitem.role if loop.nextitem is defined }};{% endfor %}", "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{% else %}none{% endfor %}", "{% for m in [] %}x{% else %}empty{% endfor %}{% for m in missing %}x{% endfor %}",
    "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}{{ m.role }}{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}", "{% for a in [[1, 2], [3, 4]] %}{% for b in a %}{{ loop.index }}{{ b }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}", "{% for c in 'ab' %}{{ c }}.{% endfor %}{% for m in messages[::-1] %}{{ m.role }}{% endfor %}",
    # Macros and others.
    "{% macro f(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(b=3, a=4) }}{{ f(1) | length }}", "{% set g = 5 %}{% macro f(a) -%}\n{{ a + g }}\n{%- endmacro %}{% for i in [1] %}{{ f(i) }}{% endfor %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% generation %}a{{ 1 }}{% endgeneration %}b", "{{ raise_exception('no') if false else 'yes' }}{{ strftime_now is defined }}",
    # Errors.
    "{{ raise_exception('no') }}", "{{ missing.x }}", "{{ missing + 1 }}", "{{ 'a' + 1 }}", "{{ none.x.y }}", "{% if %}{% endif %}", "{% for x in 3 %}{% endfor %}", "{{ 1 / 0 }}", "{{ 'a' }", "{% if true %}", "{% endif %}", "{{ missing() }}", "{{ 'a'.nothing() }}", "{{ 1 | nothing }}", "{{ 1 is nothing }}", "{{ [1 }}", "{% set a.b = 1 %}", "{% nothing %}", "{{ 'a' < 1 }}", "{{ strftime_now('%d') }}",
]

TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather \u2602 <of> a 'place'", "parameters": {
        "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1.0}}, "required": ["place"]},
    "return": {"type": "string"}}}]
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"place": "K\u00f6ln \"x\"", "days": 2}}}]}


def conversations():
    system = {"role": "system", "content": "  Be brief.\n"}
    user = {"role": "user", "content": "\n Who wrote \"Emma\"? \u4ed6 "}
    answer = {"role": "assistant", "content": "<think>\nLet me see.\n</think>\n\nAusten "}
    thoughtful = {"role": "assistant", "content": "Austen", "reasoning_content": "\nI know.\n"}
    tool = {"role": "tool", "content": "rain", "tool_call_id": "abcdefghi"}
    chats = [[user], [user, answer], [user, answer, user], [user, thoughtful, user, thoughtful], [user, CALL, tool],
             [user, CALL, tool, answer, user], [user, CALL, tool, tool, thoughtful], [user, user], [answer], [tool],
             [user, {"role": "assistant", "content": "None of it"}, {"role": "user", "content": "<tool_response>x</tool_response>"}],
             [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], [user, {"role": "assistant", "content": None, "tool_calls": CALL["tool_calls"]}, tool]]
    return chats + [[system, *chat] for chat in chats]


def cases(folder):
    for snippet in SNIPPETS:
        yield snippet, VARIABLES
    for path in sorted(folder.glob("*.jinja")) if folder else []:
        template = path.read_text(encoding="utf-8")
        for chat, tools, prompt, thinking in itertools.product(conversations(), [None, TOOLS], [True, False], [None, True, False]):
            variables = {"messages": chat, "tools": tools, "documents": None, "add_generation_prompt": prompt,
                         "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
            if thinking is not None:
                variables["enable_thinking"] = thinking
            yield template, variables


def expected(template, variables):
    """Jinja's text; None: an error."""
    try:
        compiled = _compile_jinja_template(template)
        compiled.environment.globals.pop("strftime_now", None)
        compiled = compiled.environment.from_string(template)
        return compiled.render(**variables)
    except Exception:  # Jinja lets whatever Python raises pass.
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("--goldens", type=pathlib.Path)
    arguments = parser.parse_args()
    all_cases = list(cases(arguments.folder))
    lines = "".join(json.dumps({"template": template, "variables": variables}) + "\n" for template, variables in all_cases)
    output = subprocess.run([arguments.program], input=lines, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    texts = [expected(template, variables) for template, variables in all_cases]
    num_wrong = num_refused = num_equal = num_errors = 0
    for (template, variables), text, line in zip(all_cases, texts, output.splitlines(), strict=True):
        got = json.loads(line)
        if text is None and "error" in got:
            num_errors += 1
        elif text == got.get("text"):
            num_equal += 1
        elif "error" in got:
            num_refused += 1
            if num_refused <= 20:
                print(f"refused: {got['error']}\n  {template[:100]!r} {json.dumps(variables['messages'])[:200]}")
        else:
            num_wrong += 1
            if num_wrong <= 20:
                print(f"differs: {template[:300]!r}\n  {json.dumps(variables['messages'])[:100]}\n  Jinja {text!r}\n  limn  {got['text']!r}")
    print(f"{len(all_cases)} texts: {num_equal} equal, {num_errors} errors in both, {num_refused} refused by limn alone, {num_wrong} different")
    if arguments.goldens:
        goldens = [{"template": template, "text": text} for template, text in zip(SNIPPETS, texts)]
        arguments.goldens.write_text(json.dumps({"variables": VARIABLES, "goldens": goldens}, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if num_wrong else 0)


if __name__ == "__main__":
    main()
