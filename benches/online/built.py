"""Prints the path of the benchmark's program, which cargo tells among its messages."""

import json
import sys

for line in sys.stdin:
    message = json.loads(line)
    if message.get("reason") == "compiler-message":
        print(message["message"]["rendered"], file=sys.stderr, end="")
    elif message.get("target", {}).get("name") == "online" and message.get("executable"):
        print(message["executable"])
