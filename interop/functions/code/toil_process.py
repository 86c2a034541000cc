#!/usr/bin/env python3
"""The same over JSON lines, see docs/reference/process-protocol.md."""

import json
import sys
import time

seconds = 0.0
for line in sys.stdin:
    request = json.loads(line)
    if request["type"] == "hello":
        seconds = float(request["user_config"].get("seconds", 0))
        reply = {"type": "ready"}
    elif request["type"] == "invoke":
        time.sleep(seconds)
        output = request["message"].get("payload", "") + "!"
        reply = {"type": "done", "id": request["id"], "output": output, "changes": [{"add": "seen", "amount": 1}]}
    else:
        continue
    print(json.dumps(reply), flush=True)
