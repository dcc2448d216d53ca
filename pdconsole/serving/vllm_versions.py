"""What differs between versions of vLLM, as far as starting P/D replicas goes.

Read in the sources of 0.11.0 to 0.32.0; a version beyond that gets the newest rules and a note.
"""

from __future__ import annotations

import re

import msgspec

from pdconsole.serving.errors import ServingError

OLDEST = (0, 11, 0)
NEWEST = (0, 33, 0)
NEWEST_VERSION = "0.33.0"

# Seconds that P keeps the KV of a finished prefill for a D that never fetches it. The older
# setting is not renewed while the request waits on D, so it must outlast D's longest queue; the
# newer is a lease that D's heartbeats extend.
ABORT_TIMEOUT_S = 480
KV_LEASE_S = 30


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """How one version of vLLM wants to be started."""

    version: str
    note: str = ""  # for people: the rules are a guess
    # kv_producer and kv_consumer. NixlConnector 0.11 never looks at the role, and what the field
    # measured with it ran as kv_both; from 0.23 on kv_both is deprecated.
    split_kv_roles: bool
    # kv_lease_duration in kv_connector_extra_config; before it VLLM_NIXL_ABORT_REQUEST_TIMEOUT.
    kv_lease: bool
    # kv_load_failure_policy is known. Its first default, recompute, hides failed transfers.
    load_failure_policy: bool
    # NIXL's counters are in /metrics; before that a log line counts the transfers.
    nixl_metrics: bool
    # --enable-per-request-metrics: an answer tells its request's queue and first-token times.
    per_request_metrics: bool
    # DecodeBenchConnector (vLLM PR 25986): D decodes from KV that it makes up itself.
    decode_bench: bool


def engine_rules(version: str) -> EngineRules:
    """The rules of `version`, such as `0.11.0`, `0.33.0+cpu` or `0.12.0rc1`; empty: not known.

    Raises ServingError for a version before 0.11.
    """
    number = _number(version)
    note = ""
    if not version:
        note = f"nodes were not asked for their vLLM; it is started as {NEWEST_VERSION} would be"
        number = NEWEST
    elif number is None:
        note = f"vLLM {version!r} is not a release; it is started as {NEWEST_VERSION} would be"
        number = NEWEST
    elif number > NEWEST:
        note = f"vLLM {version} is newer than {NEWEST_VERSION}, whose rules are used for it"
    if number < OLDEST:
        raise ServingError(
            f"vLLM {version} is older than 0.11.0, the first that this program starts; "
            "install a newer one on the nodes"
        )
    return EngineRules(
        version=version or NEWEST_VERSION,
        note=note,
        split_kv_roles=number >= (0, 12, 0),
        kv_lease=number >= (0, 22, 0),
        load_failure_policy=number >= (0, 13, 0),
        nixl_metrics=number >= (0, 11, 1),
        per_request_metrics=number >= (0, 25, 0),
        decode_bench=number >= (0, 12, 0),
    )


def same_version(a: str, b: str) -> bool:
    """Whether P and D of these versions may talk: only what follows `+` may differ."""
    return a.split("+")[0] == b.split("+")[0]


def _number(version: str) -> tuple[int, int, int] | None:
    """None for what has no release number, such as `0.1.dev1+gabc` of a build without tags."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?![\w.]*dev)", version.strip())
    if match is None:
        return None
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)
