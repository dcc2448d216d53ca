"""Makes a tiny random Llama with a byte-level tokenizer: `python tiny_model.py FOLDER`.

Runs in the Python of the engine stack, which has transformers and tokenizers; needs no network.
The same seed gives the same weights. Two layers, hidden size 128, 4 query and 2 KV heads of 32,
2048 positions: about 1.4 MB, so that two servers of it fit on a small machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

VOCAB = 1024
LAYERS = 2
KV_HEADS = 2
HEAD_SIZE = 32
POSITIONS = 2048
# Random weights of the usual size give nearly equal logits, and greedy decoding then repeats one
# token whatever the prompt was: no test of a KV cache. Larger ones make output depend on it.
SCALE = 4.0
SEED = 20

TEXT = """\
The river rises in the hills above the town and runs past the old mill and the school.
Every spring the whole town comes down to the bridge to see how high the water stands.
A request goes to prefill, its keys and values go to decode, and tokens come back one by one.
Numbers: 0 1 2 3 4 5 6 7 8 9 10 16 32 64 128 256 512 1024. Letters: abcdefghijklmnopqrstuvwxyz.
"""


def make(folder: Path) -> None:
    """Writes config.json, weights and tokenizer into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(folder)
    weights(folder)


def tokenizer(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [TEXT], vocab_size=VOCAB, min_frequency=1, special_tokens=["<s>", "</s>"]
    )
    # What the text is too short to fill; every id must decode to something.
    have = bpe.get_vocab_size()
    bpe.add_tokens([f"<t{index}>" for index in range(have, VOCAB)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=POSITIONS,
    )
    fast.save_pretrained(folder)


def weights(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=4 * HEAD_SIZE,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=POSITIONS,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(SCALE)
    model.to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
