#!/usr/bin/env python3
"""An agent as a graph of steps, outside of the host: plan, act, and done.

It opens a task with exactly the grants that it needs, makes every call through the host
with the task's token, and hands in its result. Each call has a name: run again with the
same token after a crash, the program finds what it did and repeats nothing.

    VESPIARY_API_KEY=vsp_... ./agent.py "What are the walls of the nest made of?"

Standard library only.
"""

import json
import os
import sys
import urllib.error
import urllib.request

HOST = os.environ.get("VESPIARY_URL", "http://127.0.0.1:7070")


def http(method, path, token, body=None):
    """Sends JSON to the host and returns what it answers."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(HOST + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        sys.exit(f"{method} {path}: {refused.status} {refused.read().decode()}")


class Task:
    """A task of the host: what this program may do, for whom, and until when."""

    def __init__(self, id, token):
        self.id, self.token = id, token

    @classmethod
    def open(cls, key, agent, purpose, grants):
        opened = http("POST", "/v1/tasks", key, {
            "agent": agent, "purpose": purpose, "grants": grants, "budget": {"calls": 20}, "expires_in": 600,
        })
        return cls(opened["task"]["id"], opened["token"])

    def call(self, id, name, request):
        """Makes a host call. A refusal is a result, too."""
        return http("POST", f"/v1/tasks/{self.id}/calls", self.token, {"id": id, "name": name, "request": request})

    def end(self, text):
        return http("POST", f"/v1/tasks/{self.id}/end", self.token, {
            "state": "completed", "content": [{"type": "text", "text": text}],
        })


def plan(task, state):
    """Asks the model what to do next."""
    state["step"] += 1
    answer = task.call(f"plan-{state['step']}", "model_chat", {"messages": state["messages"], "tools": state["tools"]})
    if "error" in answer:
        state["answer"] = "The model cannot be asked: " + answer["error"]["message"]
        return "done"
    message = answer["ok"]["message"]
    state["messages"].append(message)
    if message.get("tool_calls"):
        return "act"
    state["answer"] = "".join(part.get("text", "") for part in message.get("content", []))
    return "done"


def act(task, state):
    """Calls the tools that the model wants, and tells it what came of that."""
    for wish in state["messages"][-1]["tool_calls"]:
        result = task.call(f"act-{state['step']}-{wish['id']}", "tool_call", {
            "name": wish["name"], "arguments": wish["arguments"],
        })
        failed = "error" in result
        content = [{"type": "text", "text": result["error"]["message"]}] if failed else result["ok"]["content"]
        print(f"  {wish['name']}: {result['error']['code'] if failed else 'ok'}", file=sys.stderr)
        state["messages"].append({"role": "tool", "tool_call_id": wish["id"], "content": content, "is_error": failed})
    return "plan" if state["step"] < 8 else "done"


GRAPH = {"plan": plan, "act": act}


def run(task, question):
    tools = task.call("tools", "tool_list", {})
    state = {
        "step": 0,
        "tools": tools.get("ok", {}).get("tools", []),
        "messages": [{"role": "user", "content": [{"type": "text", "text": question}]}],
        "answer": "I found no answer.",
    }
    node = "plan"
    while node != "done":
        node = GRAPH[node](task, state)
    return state["answer"]


def main():
    question = " ".join(sys.argv[1:]) or "What are the walls of the nest made of?"
    if "VESPIARY_TASK_TOKEN" in os.environ:  # go on with a task that was opened before
        task = Task(os.environ["VESPIARY_TASK"], os.environ["VESPIARY_TASK_TOKEN"])
    else:
        task = Task.open(os.environ["VESPIARY_API_KEY"], "scout", question, [
            {"actions": ["callModel", "listTools", "reply"]},
            {"actions": ["invokeReadTool", "fileRead", "fileList"]},
        ])
        print(f"task {task.id}", file=sys.stderr)
    answer = run(task, question)
    task.end(answer)
    print(answer)


if __name__ == "__main__":
    main()
