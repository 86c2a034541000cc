#!/usr/bin/env python3
"""The same over JSON lines, see docs/reference/process-protocol.md."""

import json
import sys

answers = 0
hello = {}


def say(what):
    print(json.dumps(what), flush=True)


def ask(question, key, invocation):
    """Asks, and sets aside what comes before the answer."""
    global answers
    answers += 1
    say({"type": "call", "call": answers, "invocation": invocation, question: key})
    for line in sys.stdin:
        request = json.loads(line)
        if request["type"] == "answer" and request["call"] == answers:
            return request
        waiting.append(request)
    sys.exit(0)


def process(request):
    id, done = request["id"], {"type": "done", "id": request["id"]}
    if "window" in request:
        return {**done, "output": "+".join(m.get("payload", "") for m in request["window"])}
    message = request["message"]
    text, config = message.get("payload", ""), hello["user_config"]
    do = config["do"]
    if do == "exclaim":
        return {**done, "output": text + "!"}
    if do == "throw":
        if text.startswith("bad"):
            return {**done, "error": f"ValueError: cannot take {text}"}
        return {**done, "output": text + "!", "changes": [{"add": "thrown", "amount": 1}]}
    if do == "count":
        before = ask("counter", text, id).get("counter", 0)
        return {**done, "output": f"{text}={before + 1}", "changes": [{"add": text, "amount": 1}]}
    if do == "remember":
        before = ask("state", "last", id).get("value")
        return {**done, "output": before or "nothing", "changes": [{"put": "last", "value": text}]}
    if do == "publish":
        record = {"topic": config["to"], "payload": text + " elsewhere", "properties": {"by": "publish"}}
        return {**done, "publishes": [record]}
    if do == "log":
        say({"type": "log", "level": "info", "message": "seen " + text})
        return done
    if do == "about":
        properties = ",".join(f"{k}={v}" for k, v in sorted(message.get("properties", {}).items()))
        about = [hello["tenant"], hello["namespace"], hello["name"], message["topic"], message.get("key", ""), properties]
        return {**done, "output": "|".join([*about, hello["output"]["topic"], str(config.get("number"))])}
    if do == "secret":
        return {**done, "output": "same" if hello["secrets"].get("password") == "open sesame" else "different"}
    if do == "metric":
        return {**done, "output": text, "metrics": {"length": len(text)}}
    return done


waiting = []
for line in sys.stdin:
    waiting.append(json.loads(line))
    while waiting:
        request = waiting.pop(0)
        if request["type"] == "hello":
            hello = request
            say({"type": "ready"})
        elif request["type"] == "invoke":
            say(process(request))
