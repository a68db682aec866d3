"""Prints the path of each program that it is asked for, a line each, which cargo tells among its messages."""

import json
import sys

found = {}
for line in sys.stdin:
    message = json.loads(line)
    if message.get("reason") == "compiler-message":
        print(message["message"]["rendered"], file=sys.stderr, end="")
    elif message.get("executable"):
        found[message["target"]["name"]] = message["executable"]
for name in sys.argv[1:]:
    if name not in found:
        sys.exit(f"cargo did not build {name}")
    print(found[name])
