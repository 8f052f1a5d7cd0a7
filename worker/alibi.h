// Attention with linear biases (Press et al. 2022): a head's slope times the key's position.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "sharding/shard_layout.h"
#include "worker/decoder_config.h"

namespace limn {

// The bias that each head of a slice of all `num_heads` adds to the scaled logit of each key:
// [heads, keys] float32. `attention_scale` is that of the logits (AlibiKind::Falcon scales the bias
// with them).
at::Tensor alibi_bias(
    AlibiKind kind,
    std::int64_t num_heads,
    const Slice& heads,
    std::int64_t num_keys,
    double attention_scale);

}  // namespace limn
