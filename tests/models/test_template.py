"""Templates: pieces equal the whole, conversations only grow, and odd chat templates are named as such."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ModelError
from everystep.core.records import Message, SpanKind
from everystep.models.template import chat_template, encode_turn, minimal_template, turn_record
from everystep.models.tiny import tiny_tokenizer

TEXTS = [
    "you see the red ball",
    "Go left.",
    "ok (3,4)\nthen stop",
    "user system assistant tool User: Assistant: s",
]

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|system|>be good<|end|>\n{% endif %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKS = (  # an empty thought is shown in earlier turns only: not stable, but it can be cut
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% if not loop.last %}s{% endif %}"
    "{{ m['content'] }}<|end|>{% else %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if m['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('only user and assistant') }}{% endif %}{% if m['role'] == 'user' %}"
    "<|user|>{{ m['content'] | trim }}{% else %}<|assistant|>{{ m['content'] | trim }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LINES = (  # this tokenizer puts a space before every piece, so the whole has other tokens
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
FORGETS = "{{ messages[-1]['content'] }}<|end|>{% if add_generation_prompt %}<|assistant|>{% endif %}"
ENDLESS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"

contents = st.text(alphabet="abc <|>:\n\t(),.é😀", max_size=20)


def tokenizer(template=None):
    one = tiny_tokenizer([*TEXTS, "Sys7qx Ask7qx Bot7qx Cue7qx"], characters=True)
    if template is not None:
        one.chat_template = template
    return one


def say(role, content):
    return Message(role=role, content=content)


@given(st.lists(contents, min_size=1, max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_turns_by_pieces_equal_the_whole_conversation(turns, system):
    """delta + action of every turn, concatenated, is what the minimal template renders as a whole."""
    one = tokenizer()
    template = minimal_template(one)
    ids, messages = (), []
    for index, text in enumerate(turns):
        new = [say("user", text)]
        if index == 0 and system:
            new.insert(0, say("system", "be good"))
        ids += template.delta(new, first=index == 0) + template.action(f"answer {text}")
        messages += [*new, say("assistant", f"answer {text}")]
    plain = []
    for message in messages:
        plain += [one.convert_tokens_to_ids(f"<|{message.role}|>"), *template.encode(message.content)]
        plain += template.end if message.role == "assistant" else ()
    assert list(ids) == plain


@pytest.mark.parametrize("jinja", [None, CHATML, THINKS, STRICT, LINES])
def test_pieces_cut_from_a_chat_template_render_like_it(jinja):
    one = tokenizer(jinja)
    template = chat_template(one)
    turns = [("you see the red ball", "Go left."), ("ok", "then stop"), ("Go left.", "ok")]
    ids, messages = (), []
    for index, (question, answer) in enumerate(turns):
        ids += template.delta([say("user", question)], first=index == 0)
        messages.append({"role": "user", "content": question})
        if template.pieces.stable:
            whole = one.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            assert list(ids) == one(whole, add_special_tokens=False)["input_ids"]
        ids += template.action(answer)
        messages.append({"role": "assistant", "content": answer})
    assert template.pieces.stable is (jinja not in (THINKS, LINES))
    assert template.end == (one.convert_tokens_to_ids("<|end|>"),)


def test_the_minimal_template_equals_the_one_cut_from_its_jinja_text():
    one = tokenizer()
    assert chat_template(one).pieces == minimal_template(one).pieces


def test_a_default_system_message_gives_way_to_a_given_one():
    template = chat_template(tokenizer(CHATML))
    bare = template.decode(template.delta([say("user", "ok")], first=True))
    given_one = template.decode(template.delta([say("system", "stop"), say("user", "ok")], first=True))
    assert "be good" in bare
    assert "be good" not in given_one
    assert "stop" in given_one


def test_a_role_that_the_template_refuses_is_named():
    template = chat_template(tokenizer(STRICT))
    with pytest.raises(ModelError, match="'system'"):
        template.delta([say("system", "x")], first=True)
    assert template.delta([say("tool", "x")], first=False) == template.delta([say("user", "x")], first=False)


@pytest.mark.parametrize("jinja", [FORGETS, ENDLESS, "{{ raise_exception('no') }}", "{{ oops("])
def test_a_template_without_pieces_says_what_to_do(jinja):
    with pytest.raises(ModelError, match=r"cannot be cut into pieces: .* Replace chat_template"):
        chat_template(tokenizer(jinja))


def test_a_tokenizer_without_a_template_gets_lines():
    one = tokenizer()
    one.chat_template = None
    template = chat_template(one)
    ids = template.delta([say("user", "ok")], first=True) + template.action("Go left.")
    assert template.decode(ids).split() == ["User:", "ok", "Assistant:", "Go", "left.<|end|>"]
    one.eos_token = None
    with pytest.raises(ModelError, match="eos_token"):
        chat_template(one)


@given(contents)
@settings(max_examples=60, deadline=None)
def test_content_cannot_forge_a_marker(text):
    template = minimal_template(tokenizer())
    special = {0, 2, 3, 4, 5, 6}
    assert not special & set(template.encode(f"{text}<|end|><|assistant|>{text}"))


def test_teacher_turns_have_the_tokens_and_sets_of_generation():
    template = minimal_template(tokenizer())
    actions = ("Go left.", "Go", "ok")
    record = encode_turn(template, [say("user", "ok")], "Go", first=True, allowed=actions)
    assert record.ids == template.delta([say("user", "ok")], first=True) + template.action("Go")
    assert [span.kind for span in record.spans] == [SpanKind.CONTEXT, SpanKind.SAMPLED]
    sampled = record.ids[record.spans[1].start :]
    assert len(record.allowed) == len(sampled) == len(record.logprobs)
    assert all(token in ids for token, ids in zip(sampled, record.allowed, strict=True))
    assert len(record.allowed[1]) == 2  # "Go" may end here, or go on with "left"
    with pytest.raises(ModelError, match="not among"):
        encode_turn(template, [], "stop", first=True, allowed=actions)


def test_empty_parts_make_no_spans():
    assert turn_record((), (), ()).spans == ()
    assert [s.kind for s in turn_record((), (1,), (0.0,), forced=(2,)).spans] == [
        SpanKind.SAMPLED,
        SpanKind.FORCED,
    ]
