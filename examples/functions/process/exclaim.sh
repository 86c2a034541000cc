#!/bin/sh
# Adds an exclamation mark to every message. A function is a filter: every line of stdin is a message of the protocol
# (docs/reference/process-protocol.md), every line of stdout an answer. Here jq is the whole function.

exec jq --unbuffered --compact-output '
    if .type == "hello" then {type: "ready", runtime: "jq"}
    elif .type == "invoke" then {type: "done", id, output: (.message.payload + "!")}
    else empty
    end'
