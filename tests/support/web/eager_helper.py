"""The helper process of the API server, with questions that take time, memory or its life."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from keel.errors import UnknownVersion
from keel_airflow.web import helper


def wait(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    time.sleep(arguments["seconds"])
    return {"pid": os.getpid(), "bytes": len(body)}


def eat(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    eaten = b"x" * arguments["bytes"]
    time.sleep(arguments["seconds"])
    return {"eaten": len(eaten)}


def die(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    os.kill(os.getpid(), arguments["signal"])
    return wait({"seconds": 60}, body)


def refuse(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    raise UnknownVersion("toy has no version 7")


def fail(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    print("said on standard output")
    raise RuntimeError("a secret")


def environment(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    return dict(os.environ)


def modules(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    return {"modules": sorted(name for name in sys.modules if "." not in name)}


if __name__ == "__main__":
    more = (wait, eat, die, refuse, fail, environment, modules)
    helper.QUESTIONS.update({function.__name__: function for function in more})
    helper.main(float(sys.argv[1]))
