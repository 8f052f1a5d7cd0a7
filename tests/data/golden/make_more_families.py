#!/usr/bin/env python3
"""Makes the golden folders that make_golden.py has no recipe for.

    make_more_families.py TOOLS_DIR OUT_DIR [--seed 1] [--family FAMILY ...]

They are Llamas whose head counts are awkward to share out over tensor ranks, and further families.
TOOLS_DIR holds make_golden.py and what it imports. The folders, their checks and the oracle are
make_golden.py's own; only the configurations below are new.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def llama_variants() -> dict[str, Callable[[int], Any]]:
    """Llamas by folder name; each takes make_golden.py's variant number and ignores it."""
    import transformers
    from golden_families import Family, rope

    def llama(heads: int, kv_heads: int, head_dim: int, dims: dict[str, Any], **written: Any) -> Family:
        config = transformers.LlamaConfig(
            num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim, num_hidden_layers=2,
            max_position_embeddings=128, **({"rms_norm_eps": 1e-5, "rope_parameters": rope(10000.0)} | dims),
        )
        return Family(transformers.LlamaForCausalLM, config, **written)

    return {
        # Biases everywhere, a single key/value head, an odd number of query heads.
        "llama_5_1_bias": lambda _: llama(5, 1, 10, dict(
            vocab_size=127, hidden_size=40, intermediate_size=66, attention_bias=True, mlp_bias=True,
            rms_norm_eps=1e-3, rope_parameters=rope(5000.0))),
        # Head counts that are no powers of two; a tied head; several files, in the older spelling.
        "llama_6_3_tied": lambda _: llama(6, 3, 8, dict(
            vocab_size=139, hidden_size=42, intermediate_size=70, tie_word_embeddings=True,
            rope_parameters=rope(500000.0)), legacy_config=True, legacy_names=True, max_shard_size="40KB"),
        # More tensor ranks than key/value heads; bfloat16 on disk.
        "llama_8_1_bf16": lambda _: llama(8, 1, 6, dict(
            vocab_size=149, hidden_size=40, intermediate_size=72), storage_dtype="bfloat16"),
        # As many key/value heads as query heads, head_dim = hidden / heads, an inner width of a prime.
        "llama_5_5": lambda _: llama(5, 5, 6, dict(
            vocab_size=131, hidden_size=30, intermediate_size=61)),
    }


def more_families() -> dict[str, Callable[[int], Any]]:
    """The other folders by name, in the same form."""
    import transformers
    from golden_families import Family, rope

    shared = dict(vocab_size=131, hidden_size=40, intermediate_size=84, num_hidden_layers=2, num_attention_heads=4,
                  max_position_embeddings=128)

    def gemma(_: int) -> Family:
        """A norm weight that counts from 1, scaled embeddings, a single key/value head."""
        config = transformers.GemmaConfig(**shared, num_key_value_heads=1, head_dim=12, rms_norm_eps=1e-4,
                                          rope_parameters=rope(10000.0))
        return Family(transformers.GemmaForCausalLM, config)

    return {make.__name__: make for make in (gemma,)}


def main() -> int:
    """Makes every folder asked for; returns 1 if one of them could not be made."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("tools_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", nargs="+", help="the folders to make; all of them if not given")
    arguments = parser.parse_args()

    sys.path.insert(0, str(arguments.tools_dir))
    import make_golden

    families = llama_variants() | more_families()
    make_golden.FAMILIES.update(families)
    names = arguments.family or list(families)
    sys.argv = ["make_golden.py", str(arguments.out_dir), "--seed", str(arguments.seed), "--family", *names]
    return make_golden.main()


if __name__ == "__main__":
    sys.exit(main())
