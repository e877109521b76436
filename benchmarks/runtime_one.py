"""One run of one agent runtime, in a process and an environment of its own: ``runtime.py`` starts it.

Every runtime gets the same: a model object that answers at once with 100 characters and one tool call a step, a tool that returns 200
characters, and a last answer after N steps. CPU time of the whole process is read at every tool call. A run that needs more than its cap
stops there, and so does one that writes too much. The last line of output is JSON. Nothing but the runtime that is measured and the standard library is imported.

    python benchmarks/runtime_one.py NAME STEPS CAP_S FOLDER
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from array import array
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

SAID = "I look the next item up and then decide what has to be done with it. ".ljust(100, ".")
DISK = 3 * 10**9  # bytes at which a run stops
MESSAGES = 20  # the window: ten steps of an answer and a result each


def item_of(step: int) -> str:
    return f"item-{step}"


def result_of(item: str) -> str:
    return f"{item} is in stock. ".ljust(200, "=")


class Meter:
    """The tool, and what is measured at it."""

    def __init__(self, name: str, steps: int, cap_s: float, folder: Path) -> None:
        self.name, self.steps, self.cap_s, self.folder = name, steps, cap_s, folder
        self.cpu, self.calls, self.seen = array("d", bytes(8 * steps)), 0, sha256()
        self.import_s = 0.0
        self.began = time.process_time()
        self.resident = 0

    def imported(self) -> None:
        """Say that everything is imported and the run begins."""
        now = time.process_time()
        self.import_s, self.began, self.resident = now - self.began, now, resident()

    def look(self, item: str) -> str:
        """Look an item up."""
        if self.calls == 1:  # what the first step sets up is not growth
            self.resident = resident()
        self.cpu[self.calls] = now = time.process_time()
        self.calls += 1
        self.seen.update(f"{item};".encode())
        if self.calls < self.steps:
            if now - self.began > self.cap_s:
                self.report(None, "CPU")
            if self.calls % 100 == 0 and self.written() > DISK:
                self.report(None, "disk")
        return result_of(item)

    def written(self) -> int:
        """Return the bytes that the runtime has on disk now."""
        return sum(one.stat().st_size for one in self.folder.rglob("*") if one.is_file())

    def report(self, answer: str | None, stopped: str = "") -> None:
        """Print the result and end the process; ``stopped`` says what there was too much of."""
        done, end = self.calls, time.process_time()
        marks, tenth = self.cpu[:done], max(1, done // 10)
        print(
            json.dumps(
                {
                    "name": self.name,
                    "calls": done,
                    "stopped": stopped,
                    "arguments": self.seen.hexdigest(),
                    "answer": answer,
                    "set_up_ms": 1e3 * (marks[0] - self.began),
                    "cpu_us": 1e6 * (end - marks[0]) / done,  # with what was still to be written
                    "first_us": 1e6 * (marks[tenth] - marks[0]) / tenth,
                    "last_us": 1e6 * (marks[-1] - marks[-1 - tenth]) / tenth,
                    "import_s": self.import_s,
                    "disk": self.written(),
                    "grown": max(0, resident() - self.resident),
                    "torch": "torch" in sys.modules,
                }
            ),
            flush=True,
        )
        os._exit(0)  # a runtime's clean-up is not a step's


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def last_answer(steps: int) -> str:
    return f"done after {steps} steps"


# --- the runtimes -----------------------------------------------------------------------------------


def plain(meter: Meter) -> str:
    """A loop that writes down each step and nothing else: what this machine does in the time."""
    import sqlite3

    meter.imported()
    connection = sqlite3.connect(meter.folder / "plain.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE steps (n INTEGER PRIMARY KEY, body TEXT)")
    for step in range(meter.steps):
        body = {"said": SAID, "tool": "look", "item": item_of(step), "result": meter.look(item_of(step))}
        connection.execute("INSERT INTO steps VALUES (?, ?)", (step, json.dumps(body)))
    connection.close()
    return last_answer(meter.steps)


def everystep(meter: Meter, *, sync: bool = False) -> str:
    from everystep.core.acts import Effect, Reversal
    from everystep.core.protocols import Generation, Usage
    from everystep.core.records import Stop, Task, ToolCall
    from everystep.run.context import Window
    from everystep.run.decide import Role, Way
    from everystep.run.journal import Journal
    from everystep.run.loop import Runner
    from everystep.run.parts import Parts
    from everystep.tools.function import tool_of
    from everystep.tools.toolbox import ToolBox

    meter.imported()

    class Model:
        policy = "stub"
        step = 0

        def sample(self, requests: object, sampling: object) -> list[Generation]:
            call = ToolCall(name="look", arguments={"item": item_of(self.step)}, id=f"c{self.step}")
            if self.step == meter.steps:
                call = ToolCall(name="answer", arguments={"answer": last_answer(meter.steps)})
            self.step += 1
            return [
                Generation(text=SAID, stop=Stop.TOOL, usage=Usage(prompt=10, completion=10), calls=(call,))
            ]

        def release(self, sessions: object) -> None:
            pass

    async def look(item: str) -> str:
        """Look an item up."""
        return meter.look(item)

    effect = Effect(name="look", reversal=Reversal.IRREVERSIBLE if sync else Reversal.PURE)
    box = ToolBox([tool_of(look, effect=effect)], max_steps=meter.steps + 1, told=False)
    role = Role(name="agent", ways=(Way(sampler=Model(), context=Window(steps=MESSAGES // 2)),))
    task = Task(
        id="t", instruction="Look all items up.", environment="tools", reference=last_answer(meter.steps)
    )
    with Journal.create(meter.folder / "journal.sqlite", {}) as journal:
        runner = Runner(run="r", task=task, environment=box, parts=Parts(operator=role), journal=journal)
        outcome = asyncio.run(runner.run())
    assert (outcome.success, outcome.steps) == (True, meter.steps + 1)
    return last_answer(meter.steps)  # the box compared it with the reference


def everystep_irreversible(meter: Meter) -> str:
    """The same with a tool whose act cannot be taken back: the journal is forced to the disk before each."""
    return everystep(meter, sync=True)


def langgraph(meter: Meter, *, cut: bool = False) -> str:
    from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, MessagesState, StateGraph

    meter.imported()
    step = 0

    def agent(state: MessagesState) -> dict[str, object]:
        nonlocal step
        view = state["messages"][-MESSAGES:]
        assert len(view) <= MESSAGES
        call = {"name": "look", "args": {"item": item_of(step)}, "id": f"c{step}"}
        step += 1
        if step > meter.steps:
            return {"messages": [AIMessage(content=last_answer(meter.steps))]}
        usage = {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}
        return {"messages": [AIMessage(content=SAID, tool_calls=[call], usage_metadata=usage)]}

    def tools(state: MessagesState) -> dict[str, object]:
        call = state["messages"][-1].tool_calls[0]
        done = [ToolMessage(content=meter.look(call["args"]["item"]), tool_call_id=call["id"])]
        if cut:
            done += [RemoveMessage(id=one.id) for one in state["messages"][:-MESSAGES]]
        return {"messages": done}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", tools)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    graph.add_edge("tools", "agent")
    with SqliteSaver.from_conn_string(str(meter.folder / "state.sqlite")) as saver:
        config = {"configurable": {"thread_id": "1"}, "recursion_limit": 10**9}
        begin = {"messages": [("user", "Look all items up.")]}
        end = graph.compile(checkpointer=saver).invoke(begin, config, durability="sync")
    return end["messages"][-1].content


def langgraph_cut(meter: Meter) -> str:
    """The same with older messages removed from the state, so that each snapshot is of the window only."""
    return langgraph(meter, cut=True)


def pydantic_ai(meter: Meter) -> str:
    from pydantic_ai import Agent
    from pydantic_ai.capabilities import ProcessHistory
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai.usage import RequestUsage, UsageLimits

    meter.imported()
    step = 0

    async def model(messages, info):
        nonlocal step
        assert len(messages) <= MESSAGES + 1
        usage = RequestUsage(input_tokens=10, output_tokens=10)
        step += 1
        if step > meter.steps:
            return ModelResponse(parts=[TextPart(last_answer(meter.steps))], usage=usage)
        call = ToolCallPart("look", {"item": item_of(step - 1)}, tool_call_id=f"c{step}")
        return ModelResponse(parts=[TextPart(SAID), call], usage=usage)

    async def window(messages):
        return messages if len(messages) <= MESSAGES + 1 else [messages[0], *messages[-MESSAGES:]]

    async def look(item: str) -> str:
        """Look an item up."""
        return meter.look(item)

    agent = Agent(FunctionModel(model), tools=[look], capabilities=[ProcessHistory(window)])
    limits = UsageLimits(request_limit=None)
    return asyncio.run(agent.run("Look all items up.", usage_limits=limits)).output


def smolagents(meter: Meter) -> str:
    from smolagents import Tool, ToolCallingAgent
    from smolagents.models import (
        ChatMessage,
        ChatMessageToolCall,
        ChatMessageToolCallFunction,
        Model,
        TokenUsage,
    )

    meter.imported()

    class Stub(Model):
        step = 0

        def generate(self, messages: list[object], **more: object) -> ChatMessage:
            name, given = "look", {"item": item_of(self.step)}
            if self.step == meter.steps:
                name, given = "final_answer", {"answer": last_answer(meter.steps)}
            self.step += 1
            function = ChatMessageToolCallFunction(name=name, arguments=given)
            return ChatMessage(
                role="assistant",
                content=SAID,
                tool_calls=[ChatMessageToolCall(id=f"c{self.step}", type="function", function=function)],
                token_usage=TokenUsage(input_tokens=10, output_tokens=10),
            )

    class Look(Tool):
        name, description, output_type = "look", "Look an item up.", "string"
        inputs = {"item": {"type": "string", "description": "which"}}  # noqa: RUF012

        def forward(self, item: str) -> str:
            return meter.look(item)

    def window(step: object, agent: ToolCallingAgent) -> None:
        steps = agent.memory.steps
        del steps[1 : len(steps) - MESSAGES // 2 + 1]  # the first is the task

    agent = ToolCallingAgent(
        tools=[Look()], model=Stub(), max_steps=meter.steps + 1, step_callbacks=[window], verbosity_level=-1
    )
    return str(agent.run("Look all items up."))


def mini_swe_agent(meter: Meter) -> str:
    os.environ |= {"MSWEA_SILENT_STARTUP": "1", "MSWEA_GLOBAL_CONFIG_DIR": str(meter.folder.parent / "mswea")}
    from minisweagent.agents.default import DefaultAgent
    from minisweagent.exceptions import Submitted

    meter.imported()

    class Part:
        config = None

        def get_template_vars(self, **more: object) -> dict[str, object]:
            return {}

        def serialize(self) -> dict[str, object]:
            return {}

    class Model(Part):
        step = 0

        def query(self, messages: list[dict[str, object]], **more: object) -> dict[str, object]:
            action = {"item": item_of(self.step)}
            if self.step == meter.steps:
                action = {"submit": last_answer(meter.steps)}
            self.step += 1
            return {"role": "assistant", "content": SAID, "extra": {"actions": [action], "cost": 0.0}}

        def format_message(self, **more: object) -> dict[str, object]:
            return more

        def format_observation_messages(
            self, message: object, outputs: list[dict[str, str]], more: object = None
        ) -> list[dict[str, str]]:
            return [{"role": "user", "content": one["output"]} for one in outputs]

    class World(Part):
        def execute(self, action: dict[str, str], cwd: str = "") -> dict[str, str]:
            if "submit" in action:
                extra = {"exit_status": "Submitted", "submission": action["submit"]}
                raise Submitted({"role": "exit", "content": "", "extra": extra})
            return {"output": meter.look(action["item"])}

    agent = DefaultAgent(
        Model(),
        World(),
        system_template="You look items up.",
        instance_template="{{task}}",
        cost_limit=0.0,
        output_path=meter.folder / "trajectory.json",
    )
    return agent.run("Look all items up.")["submission"]


RUNTIMES: dict[str, Callable[[Meter], str]] = {
    "plain": plain,
    "everystep": everystep,
    "everystep-irreversible": everystep_irreversible,
    "langgraph": langgraph,
    "langgraph-cut": langgraph_cut,
    "pydantic-ai": pydantic_ai,
    "smolagents": smolagents,
    "mini-swe-agent": mini_swe_agent,
}


def main(name: str, steps: str, cap_s: str, folder: str) -> None:
    meter = Meter(name, int(steps), float(cap_s), Path(folder))
    meter.report(RUNTIMES[name](meter))


if __name__ == "__main__":
    main(*sys.argv[1:])
