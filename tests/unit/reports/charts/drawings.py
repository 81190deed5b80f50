"""Read a drawing: its size, and its shapes and texts by class."""

from __future__ import annotations

import re
from xml.etree import ElementTree

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
COMMAND = re.compile(r"([MLHVhvlz])([^MLHVhvlz]*)")


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace(' xmlns="http://www.w3.org/2000/svg"', ""))  # noqa: S314


def size(drawing: ElementTree.Element) -> tuple[float, float]:
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    return width, height


def paths(drawing: ElementTree.Element, classes: str) -> list[str]:
    return [path.attrib["d"] for path in drawing.iter("path") if path.attrib["class"] == classes]


def texts(drawing: ElementTree.Element) -> list[str]:
    return [text_of(text) for text in drawing.iter("text")]


def text_of(text: ElementTree.Element) -> str:
    return (text.text or "") + "".join(child.tail or "" for child in text)


def corners(path: str) -> list[tuple[float, float]]:
    """The points of a path with the commands that drawings use."""
    points: list[tuple[float, float]] = []
    x = y = 0.0
    for command, rest in COMMAND.findall(path):
        values = [float(value) for value in NUMBER.findall(rest)]
        if command in "ML":
            for i in range(0, len(values), 2):
                x, y = values[i], values[i + 1]
                points.append((x, y))
            continue
        if command == "l":
            for i in range(0, len(values), 2):
                x, y = x + values[i], y + values[i + 1]
                points.append((x, y))
            continue
        if command in "Hh":
            x = values[0] + (x if command == "h" else 0)
        if command in "Vv":
            y = values[0] + (y if command == "v" else 0)
        if command != "z":
            points.append((x, y))
    return points


def heights(path: str) -> list[float]:
    """The heights of the bars of a path, from left to right."""
    bars = [bar for bar in path.split("M") if bar]
    found = []
    for bar in bars:
        ys = [y for _, y in corners(f"M{bar}")]
        found.append(max(ys) - min(ys))
    return found
