"""Messages to tokens, one turn at a time, so that nothing is ever rendered or tokenised twice.

A chat template is cut into pieces once: what stands before and after a message of each role, and what
opens the model's own turn. A turn's new tokens are those pieces around the encoded contents, so the
cost of a turn does not grow with the conversation, and what the model sampled is never tokenised again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from everystep.core.errors import ModelError
from everystep.core.records import Message, Span, SpanKind, TokenRecord
from everystep.models.trie import Node, trie, walk

Ids = tuple[int, ...]

ROLES = ("system", "user", "assistant", "tool")
PAD, UNKNOWN, END = "<|pad|>", "<|unk|>", "<|end|>"
MARKERS = {role: f"<|{role}|>" for role in ROLES}

MINIMAL_JINJA = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The plain template of the tiny models: a role marker, the text, and an end token after the model's turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The constant tokens of a chat template.

    ``start`` opens a conversation, ``default_system`` comes next where the first message is not a system
    message. ``before`` and ``after`` frame a message of each role. ``open`` opens the model's turn,
    ``end`` closes it and is what the model learns to write, ``gap`` stands between that and the next
    message. ``stops`` are all tokens that end a free generation. ``stable`` says whether a probe conversation
    by the pieces has the tokens that the template renders as a whole. Where it does not (some templates drop the
    thoughts of earlier turns, some tokenizers put a space before every piece), the pieces still hold:
    a conversation only grows, and nothing that was sampled is dropped.
    """

    start: Ids
    default_system: Ids
    before: Mapping[str, Ids]
    after: Mapping[str, Ids]
    open: Ids
    end: Ids
    gap: Ids
    stops: frozenset[int]
    stable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The tokens before an answer. ``tool`` are the ranges (start, end) of tool output among them."""

    ids: Ids
    tool: tuple[tuple[int, int], ...] = ()


class Template:
    """Pieces with the tokenizer that fills them. Contents are encoded as plain text.

    A content that spells a special token (``<|im_end|>``) gives ordinary tokens, so an observation
    cannot close its message or forge a turn.
    """

    def __init__(self, pieces: Pieces, encode: Callable[[str], Ids], decode: Callable[[Ids], str]) -> None:
        self.pieces = pieces
        self.encode = lru_cache(maxsize=65_536)(encode)
        self.decode = decode
        self.choices = lru_cache(maxsize=4_096)(self._choices)

    @property
    def end(self) -> Ids:
        """The ids that close the model's turn."""
        return self.pieces.end

    def delta(self, messages: Sequence[Message], *, first: bool) -> Ids:
        """Return the tokens that ``messages`` add to a conversation, up to where the model writes.

        ``first`` is true for the first turn; later turns continue after the ``end`` of the last one.
        """
        return self.context(messages, first=first).ids

    def context(self, messages: Sequence[Message], *, first: bool) -> Context:
        """Return what ``delta`` does, and where in it tools speak."""
        pieces = self.pieces
        tool: list[tuple[int, int]] = []
        ids: list[int] = []
        if first:
            ids += pieces.start
            if not messages or messages[0].role != "system":
                ids += pieces.default_system
        else:
            ids += pieces.gap
        for message in messages:
            if message.role not in pieces.before:
                raise ModelError(
                    f"message with role {message.role!r}; this template knows {', '.join(sorted(pieces.before))}."
                )
            if message.calls:
                raise ModelError(
                    "a message with tool calls cannot be rendered by a local model. Write the calls into its content."
                )
            ids += pieces.before[message.role]
            start = len(ids)
            ids += self.encode(message.content)
            if message.role == "tool" and len(ids) > start:
                tool.append((start, len(ids)))
            ids += pieces.after[message.role]
        ids += pieces.open
        return Context(ids=tuple(ids), tool=tuple(tool))

    def action(self, text: str) -> Ids:
        """Return the tokens of an answer with its end of turn."""
        return (*self.encode(text), *self.pieces.end)

    def _choices(self, allowed: tuple[str, ...]) -> Node:
        if not allowed:
            raise ModelError("no answer is allowed. Give at least one, or None for free text.")
        texts = tuple(dict.fromkeys(allowed))
        return trie(texts, [self.action(text) for text in texts])


def encode_turn(
    template: Template,
    messages: Sequence[Message],
    text: str,
    *,
    first: bool,
    allowed: tuple[str, ...] | None = None,
    policy: str = "teacher",
) -> TokenRecord:
    """Return the token record of a turn that answered ``messages`` with ``text``, as generation would.

    The answer and its end of turn are one sampled span, with the allowed sets when ``allowed`` is given.
    Their log-probabilities are 0: a teacher is certain, and ``policy`` says that it was a teacher.
    An answer that is not among ``allowed`` raises ``ModelError``.
    """
    context = template.context(messages, first=first)
    answer = template.action(text)
    sets = None
    if allowed is not None:
        if text not in allowed:
            raise ModelError(f"the answer {text!r} is not among the {len(allowed)} allowed ones.")
        sets = tuple(walk(template.choices(allowed), answer))
    return turn_record(
        context.ids, answer, (0.0,) * len(answer), tool=context.tool, allowed=sets, policy=policy
    )


def turn_record(
    context: Ids,
    sampled: Ids,
    logprobs: tuple[float, ...],
    *,
    tool: Sequence[tuple[int, int]] = (),
    forced: Ids = (),
    allowed: tuple[Ids, ...] | None = None,
    temperature: float = 1.0,
    policy: str = "",
) -> TokenRecord:
    """Return the record of one turn: context, then what was sampled, then what was forced after it.

    ``tool`` are the ranges of the context that are tool output; they get spans of their own.
    """
    ends = []
    for start, end in tool:
        ends += [(start, SpanKind.CONTEXT, 0.0), (end, SpanKind.TOOL, 0.0)]
    ends.append((len(context), SpanKind.CONTEXT, 0.0))
    ends.append((len(context) + len(sampled), SpanKind.SAMPLED, 1.0))
    ends.append((len(context) + len(sampled) + len(forced), SpanKind.FORCED, 0.0))
    spans = []
    at = 0
    for end, kind, weight in ends:
        if end > at:
            spans.append(Span(start=at, end=end, kind=kind, weight=weight))
            at = end
    return TokenRecord(
        ids=context + sampled + forced,
        spans=tuple(spans),
        logprobs=logprobs,
        allowed=allowed,
        temperature=temperature,
        policy=policy,
    )


# --- from a tokenizer -----------------------------------------------------------------------------


def minimal_template(tokenizer: Any) -> Template:
    """Return the plain template of a tokenizer that was made by ``tiny_tokenizer``."""
    ids = {role: (int(tokenizer.convert_tokens_to_ids(marker)),) for role, marker in MARKERS.items()}
    end = (int(tokenizer.convert_tokens_to_ids(END)),)
    pieces = Pieces(
        start=(),
        default_system=(),
        before=ids,
        after={role: end if role == "assistant" else () for role in ROLES},
        open=ids["assistant"],
        end=end,
        gap=(),
        stops=frozenset(map(int, tokenizer.all_special_ids)),
    )
    return Template(pieces, *_codec(tokenizer))


def chat_template(tokenizer: Any) -> Template:
    """Return the template of any Hugging Face tokenizer, cut out of its chat template.

    Without a chat template the messages are framed as ``User: ...`` lines. Raises ``ModelError`` where no
    pieces can be found: a template that rewrites or drops messages, or a tokenizer without an end token.
    """
    encode, decode = _codec(tokenizer)
    pieces = _lined(tokenizer) if tokenizer.chat_template is None else _cut(tokenizer)
    return Template(pieces, encode, decode)


def _codec(tokenizer: Any) -> tuple[Callable[[str], Ids], Callable[[Ids], str]]:
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()

    def encode(text: str) -> Ids:
        safe = text.encode("utf-8", "replace").decode()  # lone surrogates are not text
        return tuple(backend.encode(safe, add_special_tokens=False).ids)

    def decode(ids: Ids) -> str:
        text: str = backend.decode(list(ids), skip_special_tokens=False)
        return text

    return encode, decode


def _ids(tokenizer: Any, text: str) -> Ids:
    """Encode a piece of a template: here special tokens are meant."""
    return tuple(map(int, tokenizer(text, add_special_tokens=False)["input_ids"])) if text else ()


def _lined(tokenizer: Any) -> Pieces:
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has neither a chat template nor an end token (eos_token). Set one of them in its "
            "tokenizer_config.json."
        )
    names = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
    end = (int(tokenizer.eos_token_id),)
    newline = _ids(tokenizer, "\n")
    bos = tokenizer.bos_token_id
    return Pieces(
        start=() if bos is None or bos == end[0] else (int(bos),),
        default_system=(),
        before={role: _ids(tokenizer, f"{name}: ") for role, name in names.items()},
        after={role: (*end, *newline) if role == "assistant" else newline for role in ROLES},
        open=_ids(tokenizer, "Assistant: "),
        end=end,
        gap=newline,
        stops=frozenset(map(int, tokenizer.all_special_ids)) | {end[0]},
    )


_S, _A, _B, _C = "Sys7qx", "Ask7qx", "Bot7qx", "Cue7qx"


def _cut(tokenizer: Any) -> Pieces:
    """Find the pieces between the contents of probe conversations."""
    user, answer, again = _message("user", _A), _message("assistant", _B), _message("user", _C)
    bare = _render(tokenizer, [user], prompt=False)
    asked = _render(tokenizer, [user], prompt=True)
    closed = _render(tokenizer, [user, answer], prompt=False)
    longer = _render(tokenizer, [user, answer, again], prompt=True)
    if not asked.startswith(bare):
        raise _uncut("opening the model's turn changes the text before it")
    opening = asked[len(bare) :]
    head, after_user = _around(bare, _A)
    between = longer[longer.index(_B) + len(_B) : longer.index(_C)] if _B in longer and _C in longer else None
    tail = _around(closed, _B)[1]
    if between is None or not between.startswith(tail):
        raise _uncut("a later message changes what follows an answer")
    before_user = between[len(tail) :]
    if not head.endswith(before_user):
        raise _uncut("the first user message is framed differently from later ones")
    lead = head[: len(head) - len(before_user)]
    start, before_system, after_system = _system(tokenizer, before_user, lead)
    end, gap = _end(tokenizer, tail)
    before = {"user": before_user, "assistant": opening}
    after = {"user": after_user, "assistant": tail}
    if before_system is not None:
        before["system"], after["system"] = before_system, after_system
    before["tool"], after["tool"] = _tool(tokenizer, before_user, after_user, closed)
    pieces = Pieces(
        start=_ids(tokenizer, start),
        default_system=_ids(tokenizer, lead[len(start) :]),
        before={role: _ids(tokenizer, text) for role, text in before.items()},
        after={role: _ids(tokenizer, text) for role, text in after.items()},
        open=_ids(tokenizer, opening),
        end=end,
        gap=gap,
        stops=frozenset(map(int, tokenizer.all_special_ids)) | {end[-1]},
    )
    rest = _joined(pieces, [_ids(tokenizer, one) for one in (_A, _B, _C)])
    stable = longer.startswith(asked + _B + tail) and rest == _ids(tokenizer, longer)
    return replace(pieces, stable=stable)


def _joined(pieces: Pieces, contents: Sequence[Ids]) -> Ids:
    """Return the tokens of a question, an answer and a question by the pieces."""
    first, answer, second = contents
    head = pieces.start + pieces.default_system + pieces.before["user"] + first + pieces.after["user"]
    middle = pieces.open + answer + pieces.end + pieces.gap
    return head + middle + pieces.before["user"] + second + pieces.after["user"] + pieces.open


def _system(tokenizer: Any, before_user: str, lead: str) -> tuple[str, str | None, str]:
    """Return what opens every conversation, and what frames a system message (``None``: not supported)."""
    try:
        text = _render(tokenizer, [_message("system", _S), _message("user", _A)], prompt=False)
        head, rest = _around(text, _S)
        middle, _ = _around(rest, _A)
    except ModelError:
        return lead, None, ""
    if not middle.endswith(before_user):
        return lead, None, ""
    bos = tokenizer.bos_token or ""
    start = bos if bos and head.startswith(bos) and lead.startswith(bos) else ""
    return start, head[len(start) :], middle[: len(middle) - len(before_user)]


def _tool(tokenizer: Any, before_user: str, after_user: str, closed: str) -> tuple[str, str]:
    """Return the frame of a tool's answer; a template without tools shows it as a user message."""
    try:
        text = _render(
            tokenizer, [_message("user", _A), _message("assistant", _B), _message("tool", _C)], prompt=False
        )
        head, rest = _around(text, _C)
    except ModelError:
        return before_user, after_user
    if not head.startswith(closed):
        return before_user, after_user
    return head[len(closed) :], rest


def _end(tokenizer: Any, tail: str) -> tuple[Ids, Ids]:
    """Split what follows an answer into what the model writes (through the first special token) and the rest."""
    ids = _ids(tokenizer, tail)
    special = set(map(int, tokenizer.all_special_ids))
    for index, token in enumerate(ids):
        if token in special:
            return ids[: index + 1], ids[index + 1 :]
    raise _uncut("it does not close an answer with a special token, so the model cannot end its turn")


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _render(tokenizer: Any, messages: list[dict[str, str]], *, prompt: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=prompt, date_string="26 Jul 2024"
        )
    except Exception as error:  # templates raise errors of their own for roles that they do not know
        raise _uncut(f"it fails on a probe conversation ({error})") from None
    return text


def _around(text: str, content: str) -> tuple[str, str]:
    if text.count(content) != 1:
        raise _uncut(f"it shows a message {text.count(content)} times instead of once")
    index = text.index(content)
    return text[:index], text[index + len(content) :]


def _uncut(why: str) -> ModelError:
    return ModelError(
        f"the chat template cannot be cut into pieces: {why}. Replace chat_template in the checkpoint's "
        "tokenizer_config.json by one that appends messages without changing earlier ones (ChatML does)."
    )
