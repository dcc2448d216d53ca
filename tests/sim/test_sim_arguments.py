from __future__ import annotations

import pytest

from pdconsole.sim.arguments import ArgumentError, parse_serve

NIXL = '{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_load_failure_policy":"recompute"}'


def test_flags_of_vllm_serve_are_read_in_its_spellings() -> None:
    flags = (
        "--served_model_name m --tensor-parallel-size=4 --port 8101 --no-enable-prefix-caching"
        " --max-num-batched-tokens 4096 --disable-hybrid-kv-cache-manager"
        " --disable-uvicorn-access-log"
    )
    parsed = parse_serve(["some/model", *flags.split(), "--kv-transfer-config", NIXL])
    assert (parsed.model, parsed.served_names) == ("some/model", ("m",))
    assert (parsed.tp, parsed.port, parsed.token_budget) == (4, 8101, 4096)
    assert not parsed.prefix_caching
    assert parsed.unknown == ()
    assert parsed.kv_transfer is not None
    assert parsed.kv_transfer.kv_load_failure_policy == "recompute"


def test_what_is_unknown_is_kept_to_be_warned_of() -> None:
    assert parse_serve(["m", "--brand-new", "7"]).unknown == ("--brand-new", "7")


def test_compatibility_is_of_what_both_sides_must_share() -> None:
    plain = parse_serve(["m", "--kv-transfer-config", NIXL])
    same = parse_serve(["m", "--kv-transfer-config", NIXL, "--port", "9", "-tp", "2"])
    assert plain.compatibility == same.compatibility
    for other in (
        ["x"],
        ["m", "--dtype", "float16"],
        ["m", "--no-disable-hybrid-kv-cache-manager"],
    ):
        assert parse_serve([*other, "--kv-transfer-config", NIXL]).compatibility != (
            plain.compatibility
        )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "which model"),
        (["m", "--port", "many"], "--port"),
        (["m", "--kv-transfer-config", "{}"], "kv_connector '' is not simulated"),
        (["m", "--kv-transfer-config", NIXL.replace("kv_both", "both")], "kv_role 'both'"),
    ],
)
def test_what_vllm_would_refuse_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        parse_serve(argv)
