"""Secrets: planted values never occur in what goes out, and reach only the tools that may have them."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import pickle
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from everystep.core.acts import Effect
from everystep.core.codec import dumps, encode
from everystep.core.errors import ConfigError, ModelError, ToolError, WorldError
from everystep.core.protocols import (
    AsyncSampler,
    Environment,
    Forks,
    Generation,
    Oracle,
    Outside,
    Portable,
    Primes,
    Request,
    Sampling,
    Settled,
    Snapshots,
    Transition,
)
from everystep.core.records import Action, Json, Message, Observation, Step, Stop, Task, ToolCall
from everystep.core.trace import Kind
from everystep.guard.sealed import sealed_environment, sealed_sampler
from everystep.guard.secrets import TEXT, Secret, Vault, placeholder
from everystep.models.scripted import Scripted
from everystep.run.journal import Journal
from strategies import records_of

VALUE = "Tr0ub4dor & 3/+=ü?"
TASK = Task(id="t", instruction="log in", environment="site")


def vault(value: str = VALUE, *tools: str) -> Vault:
    return Vault([Secret(name="KEY", value=value, tools=tools)])


def forms(value: str) -> dict[str, str]:
    data = value.encode()
    return {
        "as it is": value,
        "upper": value.upper(),
        "lower": value.lower(),
        "percent": quote(value, safe=""),
        "percent, lower": quote(value, safe="").lower(),
        "form": quote_plus(value),
        "path": quote(value),
        "every byte": "".join(f"%{byte:02X}" for byte in data),
        "twice": quote(quote(value, safe=""), safe=""),
        "json": json.dumps(value),
        "json, not ascii": json.dumps(value, ensure_ascii=False),
        "json in json": json.dumps(json.dumps(value)),
        "html": html.escape(value),
        "html numbers": "".join(f"&#{ord(c)};" for c in value),
        "html hex": "".join(f"&#x{ord(c):x};" for c in value),
        "repr": repr(value),
        "base64": base64.b64encode(data).decode(),
        "base64 url": base64.urlsafe_b64encode(data).decode().rstrip("="),
        "basic auth": base64.b64encode(b"user:" + data).decode(),
        "base64 shifted": base64.b64encode(b"xy" + data + b"zz").decode(),
        "hex": data.hex(),
        "hex, upper": data.hex().upper(),
        "spaced": " ".join(value),
        "on two lines": value[:7] + "\n    " + value[7:],
    }


@pytest.mark.parametrize("form", forms(VALUE))
def test_every_form_is_found(form: str) -> None:
    text = forms(VALUE)[form]
    scrubbed = vault().scrub(f"before {text} after")
    assert placeholder("KEY") in scrubbed
    assert scrubbed.startswith("before")
    assert scrubbed.endswith("after")
    bare = "".join(scrubbed.split()).casefold()
    core = text.strip("\"'=").casefold()
    assert "".join(core.split())[4:-4] not in bare


secrets = st.text(st.characters(codec="utf-8"), min_size=6, max_size=30)
texts = st.text(st.characters(codec="utf-8"), max_size=60)


def planted(value: str) -> Vault:
    try:
        return vault(value, TEXT, "login.password")
    except ConfigError:
        assume(False)
        raise


@given(secrets, texts, texts, st.sampled_from(sorted(forms("abcdef"))))
@settings(max_examples=300, deadline=None)
def test_no_planted_value_survives_a_scrub(value: str, before: str, after: str, form: str) -> None:
    box = planted(value)
    scrubbed = box.scrub(before + forms(value)[form] + value + after)
    assert value not in scrubbed
    assert not box.holds(scrubbed)
    assert box.scrub(scrubbed) == scrubbed


@given(st.lists(secrets, min_size=2, max_size=4, unique=True), st.data())
@settings(deadline=None)
def test_several_overlapping_secrets(values: list[str], data: st.DataObject) -> None:
    try:
        box = Vault([Secret(name=f"S{i}", value=value) for i, value in enumerate(values)])
    except ConfigError:
        assume(False)
        raise
    pieces = st.sampled_from([*values, values[0][:-1], values[1][1:], placeholder("S0"), "}}", "{{", " "])
    scrubbed = box.scrub("".join(data.draw(st.lists(pieces, max_size=12))))
    assert not any(value in scrubbed for value in values)


@given(texts)
@settings(deadline=None)
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    box = vault("correct horse battery")
    assume(not box.holds(text))
    assert box.scrub(text) == text


@given(records_of(Step), secrets)
@settings(max_examples=50, deadline=None)
def test_no_planted_value_survives_in_a_record(step: Step, value: str) -> None:
    box = planted(value)
    observation = Observation(
        text=f"a{value}",
        anchor=value,
        admissible=(value, "go"),
        info={"a": [{"b": value}], value: 1},
    )
    call = ToolCall(name="login", arguments={"password": value, "deep": [value, {"x": value}]})
    action = Action(text=value, calls=(call,), reason=f"no {value}")
    dirty = Step(id="s", parent=None, index=0, observation=observation, action=action)
    assert not box.holds(json.dumps(encode(box.scrub_record(dirty)), ensure_ascii=False))
    clean = box.scrub_record(step)
    assert clean == step or box.holds(json.dumps(encode(step), ensure_ascii=False))


def test_a_number_that_is_the_secret_goes_too() -> None:
    box = vault("4111111111111111")
    assert box.scrub_json({"card": 4111111111111111, "n": 3}) == {"card": placeholder("KEY"), "n": 3}
    clean = box.scrub_record(Observation(text="", info={"card": 4111111111111111}))
    assert clean.info == {"card": placeholder("KEY")}


@pytest.mark.parametrize(
    "value", ["", "12345", "a b c d", "secret", "{{secret:KEY}}", "x{{secret:KEY}}y", "}}{{se"]
)
def test_values_that_could_not_be_kept_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        vault(value)
    assert "KEY" in str(caught.value)
    assert len(value) < 7 or value not in str(caught.value).replace("'KEY'", "")


def test_a_vault_shows_and_stores_nothing() -> None:
    box = vault()
    assert VALUE not in f"{box!r} {box} {Secret(name='KEY', value=VALUE)}"
    with pytest.raises(TypeError, match="never stored"):
        pickle.dumps(box)


# --- filling ----------------------------------------------------------------------------------------


def test_a_value_reaches_only_the_argument_it_is_given_to() -> None:
    box = vault(VALUE, "login.password")
    ours = ToolCall(name="login", arguments={"user": "a", "password": "{{secret:KEY}}"})
    filled, why = box.fill(Action(text="{{secret:KEY}}", calls=(ours,)))
    assert why is None
    assert filled.calls[0].arguments == {"user": "a", "password": VALUE}
    assert filled.text == "{{secret:KEY}}"
    for stolen in (
        ToolCall(name="login", arguments={"user": "{{secret:KEY}}"}),
        ToolCall(name="mail", arguments={"password": "x {{ secret:key }}"}),
        ToolCall(name="mail", arguments={"body": [{"deep": "{{secret:KEY}}"}]}),
        ToolCall(name="login", arguments={"password": "{{secret:OTHER}}"}),
    ):
        action = Action(text="", calls=(stolen,))
        same, why = box.fill(action)
        assert same is action
        assert why is not None
    assert box.fill(Action(text="type {{secret:KEY}}"))[1] is not None


def test_where_values_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYSTEP_SECRET_KEY", VALUE)
    assert Vault.from_environment({"KEY": [TEXT]}).fill(Action(text="{{secret:KEY}}"))[0].text == VALUE
    with pytest.raises(ConfigError, match="EVERYSTEP_SECRET_OTHER"):
        Vault.from_environment({"OTHER": []})
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"KEY": VALUE}))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Vault.from_file(path, {})
    path.chmod(0o600)
    assert Vault.from_file(path, {"KEY": [TEXT]}).names == ("KEY",)
    with pytest.raises(ConfigError, match="Did you mean 'KEY'"):
        Vault.from_file(path, {"KEE": [TEXT]})
    path.write_text(f'{{"KEY": "{VALUE}"')
    with pytest.raises(ConfigError) as caught:
        Vault.from_file(path, {})
    assert VALUE not in "".join(traceback.format_exception(caught.value))


# --- what goes out ----------------------------------------------------------------------------------


def test_nothing_that_a_model_is_sent_holds_a_value() -> None:
    sent: list[Request] = []

    def answer(request: Request) -> str:
        sent.append(request)
        return f"I know {VALUE}"

    sampler = sealed_sampler(Scripted(answer), vault())
    call = ToolCall(name="a", arguments={"k": VALUE})
    messages = (
        Message(role="user", content=f"it is {VALUE}"),
        Message(role="assistant", content="", calls=(call,)),
    )
    (got,) = sampler.sample([Request(session="s", messages=messages, allowed=(VALUE,))], Sampling())
    assert not vault().holds(dumps(sent))
    assert "{{secret:KEY}}" in sent[0].messages[0].content
    assert VALUE not in got.text
    assert sent[0].session == "s"


def test_a_sealed_sampler_can_do_what_the_sampler_can() -> None:
    class Remote:
        policy = "remote"

        async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
            if "break" in request.messages[0].content:
                raise ModelError(f"401 for {VALUE}")
            return Generation(text="", stop=Stop.ERROR, error=f"bad key {quote(VALUE)}")

        def release(self, sessions: Any) -> None: ...

    remote = sealed_sampler(Remote(), vault())
    assert isinstance(remote, AsyncSampler)
    assert not isinstance(remote, Forks | Primes)
    local = sealed_sampler(Scripted(["a"]), vault())
    assert isinstance(local, Forks)
    assert isinstance(local, Primes)
    assert not isinstance(local, AsyncSampler)
    request = Request(session="s", messages=(Message(role="user", content="hi"),))
    answer = asyncio.run(remote.sample_one(request, Sampling()))
    assert not vault().holds(answer.error)
    broken = Request(session="s", messages=(Message(role="user", content="break"),))
    with pytest.raises(ModelError) as caught:
        asyncio.run(remote.sample_one(broken, Sampling()))
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@dataclass
class Site:
    """A world that echoes all it is given, in every way it can."""

    echo: str = "plain"
    got: list[str] = field(default_factory=list)

    def reset(self, task: Task) -> Observation:
        return Observation(text="login")

    def parse(self, text: str) -> Action:
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        self.got.append(action.text)
        if self.echo == "raise":
            raise ToolError(f"cannot do {action.text!r}")
        text = forms(action.text)[self.echo]
        observation = Observation(text=text, anchor=text, admissible=(text,), info={"said": [text]})
        return Transition(observation=observation, reward=0.0, reason=text)

    def close(self) -> None: ...


@dataclass
class Box(Site):
    """The same as a set of tools that also saves its state."""

    def effect(self, action: Action) -> Effect:
        return Effect(name="type")

    async def act(self, action: Action, *, key: str) -> Transition:
        return self.step(action)

    async def settled(self, action: Action, *, key: str) -> Settled:
        return Settled(known=True, transition=self.step(action))

    def rejoin(self, task: Task, observation: Observation) -> Observation:
        return observation

    def dump(self) -> Json:
        return {"got": [*self.got]}

    def load(self, task: Task, state: Json) -> Observation:
        assert isinstance(state, dict)
        self.got = list(state["got"])  # type: ignore[arg-type]
        return Observation(text=f"typed {self.got}")


TYPE = Action(text="{{secret:KEY}}")


@pytest.mark.parametrize("echo", ["as it is", "percent", "json", "base64", "html", "hex", "upper"])
def test_a_value_goes_into_the_act_and_never_comes_back(echo: str) -> None:
    site = Site(echo)
    world: Environment = sealed_environment(site, vault(VALUE, TEXT))
    world.reset(TASK)
    transition = world.step(TYPE)
    assert site.got == [VALUE]
    assert not vault().holds(dumps(transition))


def test_an_act_that_may_not_have_the_value_does_not_happen() -> None:
    site = Box()
    world = sealed_environment(site, vault(VALUE, "other"))
    first = world.reset(TASK)
    for transition in (world.step(TYPE), asyncio.run(world.act(TYPE, key="k"))):
        assert not transition.valid
        assert transition.observation == first
        assert "not given" in str(transition.reason)
    assert site.got == []


def test_a_sealed_environment_can_do_what_the_environment_can() -> None:
    plain, box = sealed_environment(Site(), vault()), sealed_environment(Box(), vault())
    assert not isinstance(plain, Outside | Snapshots | Portable | Oracle)
    assert isinstance(box, Outside)
    assert isinstance(box, Portable)
    assert not isinstance(box, Snapshots | Oracle)


def test_a_stored_state_holds_placeholders_and_comes_back_whole() -> None:
    box, site = vault(VALUE, TEXT), Box("as it is")
    world = sealed_environment(site, box)
    world.step(TYPE)
    state = world.dump()
    assert state == {"got": ["{{secret:KEY}}"]}
    fresh = Box()
    seen = sealed_environment(fresh, box).load(TASK, state)
    assert fresh.got == [VALUE]
    assert not box.holds(seen.text)
    site.got = [VALUE.upper()]
    with pytest.raises(WorldError, match="cannot be stored"):
        world.dump()


def test_an_error_of_the_act_is_scrubbed_with_its_cause() -> None:
    for world in (
        sealed_environment(Site("raise"), vault(VALUE, TEXT)),
        sealed_environment(Box("raise"), vault(VALUE, TEXT)),
    ):
        with pytest.raises(ToolError) as caught:
            world.step(TYPE) if not isinstance(world, Outside) else asyncio.run(world.act(TYPE, key="k"))
        assert not vault().holds(str(caught.value))
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None


@given(secrets)
@settings(max_examples=15, deadline=None)
def test_a_journal_of_an_episode_holds_no_value(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    box = planted(value)
    sent: list[Request] = []

    def answer(request: Request) -> str:
        sent.append(request)
        return "{{secret:KEY}}"

    sampler, world = sealed_sampler(Scripted(answer), box), sealed_environment(Box("as it is"), box)
    path = tmp_path_factory.mktemp("run") / "journal.sqlite"
    with Journal.create(path, {"command": "test"}) as journal:
        task = box.scrub_record(Task(id="t", instruction=f"log in with {value}", environment="site"))
        journal.append(Kind.TASK, task)
        observation = world.reset(task)
        for index in range(3):
            message = Message(role="user", content=f"{task.instruction} {observation.text} {value}")
            (got,) = sampler.sample([Request(session="s", messages=(message,))], Sampling())
            action = world.parse(got.text)
            journal.append(Kind.STARTED, {"step": str(index), "action": encode(action)})
            transition = asyncio.run(world.act(action, key=str(index)))
            journal.append(Kind.FINISHED, {"step": str(index), "transition": encode(transition)})
            step = Step(id=str(index), parent=None, index=index, observation=observation, action=action)
            journal.append(Kind.STEP, step)
            observation = transition.observation
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert value.encode() not in stored
    assert json.dumps(value)[1:-1].encode() not in stored
    assert base64.b64encode(value.encode()).rstrip(b"=")[:-1] not in stored
    assert not any(value in message.content for request in sent for message in request.messages)


def test_logs_are_scrubbed_with_their_arguments_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("everystep.test")
    caplog.handler.addFilter(vault().log_filter())
    log.warning("key %s for %r", VALUE, {"k": VALUE})
    try:
        raise ValueError(VALUE)
    except ValueError:
        log.exception("it broke")
    assert VALUE not in caplog.text
    assert caplog.text.count("{{secret:KEY}}") == 3
