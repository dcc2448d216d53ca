"""Makes a model of random weights: `python make_model.py random-llama|gpt-oss-shape FOLDER`.

Runs in the engine's Python (transformers, tokenizers, torch); needs no network.

random-llama    1.04 B parameters in bf16: 16 layers, 32 query and 8 KV heads of 64. The same seed
                gives the same weights on the same kind of device.
gpt-oss-shape   configuration of gpt-oss-120b (36 layers, 128 experts in mxfp4); no weights, to be
                served with `load-format: dummy`.

The tokenizer of both has one word for each id (`t5` is 5), so that text and ids are the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Random weights of the usual size (0.02) give nearly equal logits.
SCALE = 0.04
SEED = 7
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
_LAYERS = 36
GPT_OSS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "experts_per_token": 4,
    "layer_types": ["sliding_attention", "full_attention"] * (_LAYERS // 2),
    "sliding_window": 128,
    "attention_bias": True,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "swiglu_limit": 7.0,
    "initial_context_length": 4096,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 150000,
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 4096,
    },
    "router_aux_loss_coef": 0.9,
    "output_router_logits": False,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "use_cache": True,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    },
}


def tokenizer(folder: Path, config: dict[str, Any]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2}
    words |= {f"t{index}": index for index in range(len(words), config["vocab_size"])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=config["max_position_embeddings"],
    ).save_pretrained(folder)


def llama_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    chance = torch.Generator(device=device).manual_seed(SEED)
    hidden, inner = LLAMA["hidden_size"], LLAMA["intermediate_size"]
    kv = LLAMA["num_key_value_heads"] * LLAMA["head_dim"]

    def random(*shape: int) -> Any:
        values = torch.randn(*shape, generator=chance, device=device) * SCALE
        return values.to(torch.bfloat16).cpu()

    ones = torch.ones(hidden, dtype=torch.bfloat16)
    weights = {"model.embed_tokens.weight": random(LLAMA["vocab_size"], hidden)}
    for layer in range(LLAMA["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden,) * 2}
        for name, shape in shapes.items():
            weights[f"{at}.self_attn.{name}_proj.weight"] = random(*shape)
        for name in ("gate", "up"):
            weights[f"{at}.mlp.{name}_proj.weight"] = random(inner, hidden)
        weights[f"{at}.mlp.down_proj.weight"] = random(hidden, inner)
        weights[f"{at}.input_layernorm.weight"] = ones.clone()
        weights[f"{at}.post_attention_layernorm.weight"] = ones.clone()
    weights["model.norm.weight"] = ones.clone()
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def main() -> None:
    shape, folder = sys.argv[1], Path(sys.argv[2])
    config = {"random-llama": LLAMA, "gpt-oss-shape": GPT_OSS}[shape]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    tokenizer(folder, config)
    if shape == "random-llama":
        llama_weights(folder)


if __name__ == "__main__":
    main()
