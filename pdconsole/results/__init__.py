"""Result directories: write them, read them and others', compare them."""

from __future__ import annotations

from pdconsole.results.comparison import Comparison, compare
from pdconsole.results.directory import ResultDirectory
from pdconsole.results.document import point_document
from pdconsole.results.errors import ResultError
from pdconsole.results.facts import RunFacts
from pdconsole.results.reading import PointRow, read_directory, read_point, read_points
from pdconsole.results.requests import read_requests

__all__ = [
    "Comparison",
    "PointRow",
    "ResultDirectory",
    "ResultError",
    "RunFacts",
    "compare",
    "point_document",
    "read_directory",
    "read_point",
    "read_points",
    "read_requests",
]
