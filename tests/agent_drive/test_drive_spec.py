"""Bad specs are refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pdconsole.agent.drive.spec import parse_spec, read_spec
from pdconsole.agent.drive.target import DriveError, split_url
from tests.agent_drive.test_drive import spec_of

HERE = Path("/some/where")


def test_a_spec_is_read_with_its_defaults() -> None:
    spec = parse_spec(spec_of("http://h:1", warm_pairs=None, urls=[], until_relative_ci=None), HERE)
    assert spec.urls == ("http://h:1/v1/completions",)
    assert (spec.concurrency, spec.max_tokens, spec.window) == (4, 5, "steady")
    assert spec.gaps == HERE / "gaps.bin"


@pytest.mark.parametrize(
    ("gaps", "path"),
    [("@dir@/g.bin", HERE / "g.bin"), ("g.bin", HERE / "g.bin"), ("/x/g.bin", Path("/x/g.bin"))],
)
def test_where_the_gaps_go(gaps: str, path: Path) -> None:
    assert parse_spec(spec_of("http://h:1", gaps=gaps), HERE).gaps == path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": 2}, "protocol is 2"),
        ({"load": None}, "load is missing"),
        ({"load": {"kind": "burst", "value": 1}}, "load kind is 'burst'"),
        ({"load": {"kind": "concurrency", "value": 2.5}}, "load value is 2.5"),
        ({"load": {"kind": "request_rate", "value": 0}}, "load value is 0"),
        ({"load": {"kind": "request_rate", "value": "4"}}, "value is '4'"),
        ({"model": None}, "missing: model"),
        ({"input_len": "5000"}, "input_len is '5000'"),
        ({"output_len": 0}, "start at 1"),
        ({"mode": "decode"}, "mode is 'decode'"),
        ({"vocab": [5]}, "vocab is"),
        ({"warm_pairs": {"prefill": {}}}, "warm_pairs needs"),
        ({"url": None}, "url is missing"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DriveError) as raised:
        parse_spec({**spec_of("http://h:1"), **changes}, HERE)
    assert said in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    with pytest.raises(DriveError, match=str(path)):
        read_spec(path)
    path.write_text('{"protocol": 1')
    with pytest.raises(DriveError, match=str(path)):
        read_spec(path)


def test_urls() -> None:
    assert split_url("http://10.0.0.1:8100") == ("10.0.0.1", 8100, "/v1/completions")
    assert split_url("http://[::1]:8100/") == ("::1", 8100, "/v1/completions")
    assert split_url("http://host/x/y") == ("host", 80, "/x/y")
    for url in ("https://host:1", "host:8000", "http://host:port", ""):
        with pytest.raises(DriveError):
            split_url(url)
