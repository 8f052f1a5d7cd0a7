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

    def phi3(_: int) -> Family:
        """q/k/v and gate/up fused in one matrix each; a sliding window in every layer."""
        config = transformers.Phi3Config(**shared, num_key_value_heads=2, sliding_window=11, rms_norm_eps=1e-4,
                                         pad_token_id=0, rope_parameters=rope(10000.0))
        return Family(transformers.Phi3ForCausalLM, config, window=11)

    def phi3_longrope(original_length: int, fraction: float, tied: bool, **scaling: Any) -> Any:
        """The configuration of a Phi-3 whose short and long factors differ in every frequency."""
        count = int(10 * fraction) // 2
        return transformers.Phi3Config(
            **shared, num_key_value_heads=2, rms_norm_eps=1e-5, pad_token_id=0, tie_word_embeddings=tied,
            original_max_position_embeddings=original_length, rope_parameters=rope(
                1000.0, rope_type="longrope", partial_rotary_factor=fraction, **scaling,
                short_factor=[1.0 + 0.25 * i for i in range(count)], long_factor=[1.5 + 1.25 * i for i in range(count)],
            ),
        )

    def phi3_longrope_short(_: int) -> Family:
        """Longrope in a sequence as long as the original context; partial rotation, the published spelling."""
        config = phi3_longrope(28, 0.8, tied=True)
        return Family(transformers.Phi3ForCausalLM, config, legacy_config=True)

    def phi3_longrope_long(_: int) -> Family:
        """Longrope in a sequence one token longer than the original context, with a factor of its own."""
        config = phi3_longrope(27, 1.0, tied=False, factor=16.0)
        return Family(transformers.Phi3ForCausalLM, config)

    def stablelm(_: int) -> Family:
        """Gated feed-forward under LayerNorms with biases, q/k/v biases, partial rotation."""
        config = transformers.StableLmConfig(
            **shared, num_key_value_heads=4, layer_norm_eps=1e-4, use_qkv_bias=True,
            rope_parameters=rope(10000.0, partial_rotary_factor=0.4),
        )
        return Family(transformers.StableLmForCausalLM, config, legacy_config=True)

    def stablelm_parallel(_: int) -> Family:
        """Parallel block with one norm, a norm for every single query and key head."""
        config = transformers.StableLmConfig(
            **shared, num_key_value_heads=2, layer_norm_eps=1e-3, use_parallel_residual=True, qk_layernorm=True,
            rope_parameters=rope(5000.0, partial_rotary_factor=0.25), tie_word_embeddings=True,
        )
        return Family(transformers.StableLmForCausalLM, config)

    def granite(_: int) -> Family:
        """Llama with multipliers of embeddings, scores, residual branches and logits."""
        config = transformers.GraniteConfig(
            **shared, num_key_value_heads=2, rms_norm_eps=1e-5, rope_parameters=rope(10000.0), tie_word_embeddings=True,
            embedding_multiplier=3.5, attention_multiplier=0.25, residual_multiplier=0.6, logits_scaling=1.75,
        )
        return Family(transformers.GraniteForCausalLM, config)

    def granite_bias(_: int) -> Family:
        """Granite with biases, whole multipliers and, left out of config.json, those of 1; scores have no scale."""
        config = transformers.GraniteConfig(
            **shared, num_key_value_heads=2, rms_norm_eps=1e-4, rope_parameters=rope(10000.0), attention_bias=True,
            mlp_bias=True, embedding_multiplier=2, logits_scaling=2,
        )
        return Family(transformers.GraniteForCausalLM, config, legacy_config=True)

    def qwen2_window(_: int) -> Family:
        """A sliding window from the second layer on, which config.json says in the older spelling alone."""
        config = transformers.Qwen2Config(
            **shared | {"num_hidden_layers": 3}, num_key_value_heads=2, rms_norm_eps=1e-3, use_sliding_window=True,
            sliding_window=9, max_window_layers=1, rope_parameters=rope(10000.0),
        )
        return Family(transformers.Qwen2ForCausalLM, config, storage_dtype="bfloat16", legacy_config=True, window=9)

    def bloom_residual(_: int) -> Family:
        """Residual branches that begin behind the norms; an odd number of heads."""
        config = transformers.BloomConfig(
            vocab_size=131, hidden_size=40, n_layer=2, n_head=5, layer_norm_epsilon=1e-3,
            apply_residual_connection_post_layernorm=True,
        )
        return Family(transformers.BloomForCausalLM, config, legacy_names=True)

    def gpt_neox_sequential(_: int) -> Family:
        """Sequential block, no biases in attention, all of each head rotated, a tied head."""
        config = transformers.GPTNeoXConfig(
            **shared, layer_norm_eps=1e-3, use_parallel_residual=False, attention_bias=False, tie_word_embeddings=True,
            bos_token_id=0, eos_token_id=0, rope_parameters=rope(5000.0, partial_rotary_factor=1.0),
        )
        return Family(transformers.GPTNeoXForCausalLM, config)

    def phi_norms(_: int) -> Family:
        """LayerNorms with biases on every query and key head, grouped heads, a tied head with a bias."""
        config = transformers.PhiConfig(
            **shared, num_key_value_heads=2, layer_norm_eps=1e-3, qk_layernorm=True, hidden_act="gelu",
            tie_word_embeddings=True, rope_parameters=rope(10000.0, partial_rotary_factor=0.8),
        )
        return Family(transformers.PhiForCausalLM, config, legacy_config=True)

    def qwen3_moe_dense(_: int) -> Family:
        """Experts in every other layer, their weights not renormalised; biases in attention."""
        config = transformers.Qwen3MoeConfig(
            **shared, num_key_value_heads=2, head_dim=10, moe_intermediate_size=20, num_experts=5,
            num_experts_per_tok=2, norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[], rms_norm_eps=1e-3,
            attention_bias=True, rope_parameters=rope(10000.0),
        )
        return Family(transformers.Qwen3MoeForCausalLM, config, legacy_config=True)

    recipes = (gemma, phi3, phi3_longrope_short, phi3_longrope_long, stablelm, stablelm_parallel, granite, granite_bias,
               qwen2_window, bloom_residual, gpt_neox_sequential, phi_norms, qwen3_moe_dense)
    return {recipe.__name__: recipe for recipe in recipes}


def published_phi3(config: dict[str, Any]) -> dict[str, Any]:
    """Spells an older Phi-3 configuration as published: scaling has a `type` and no original length of its own."""
    scaling = config.get("rope_scaling")
    if config["model_type"] == "phi3" and scaling:
        factors = {name: scaling[name] for name in ("long_factor", "short_factor")}
        config["rope_scaling"] = {"type": scaling["rope_type"], **factors}
    return config


def main() -> int:
    """Makes every folder asked for; returns 1 if one of them could not be made."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("tools_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", nargs="+", help="the folders to make; all of them if not given")
    arguments = parser.parse_args()

    sys.path.insert(0, str(arguments.tools_dir))
    import golden_checkpoint
    import make_golden

    as_older = golden_checkpoint.legacy_config
    golden_checkpoint.legacy_config = lambda config: published_phi3(as_older(config))
    families = llama_variants() | more_families()
    make_golden.FAMILIES.update(families)
    names = arguments.family or list(families)
    sys.argv = ["make_golden.py", str(arguments.out_dir), "--seed", str(arguments.seed), "--family", *names]
    return make_golden.main()


if __name__ == "__main__":
    sys.exit(main())
