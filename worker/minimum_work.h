// What sweeps cannot do without.
#pragma once

#include <cstdint>
#include <map>

#include <c10/core/ScalarType.h>

#include "worker/decoder_config.h"
#include "worker/sweep_compute.h"
#include "worker/sweep_layout.h"

namespace limn {

// A matrix product x W^T with x [rows, inputs] and W [outputs, inputs].
struct SweepProduct {
  at::ScalarType dtype = at::kFloat;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t rows = 0;

  auto operator<=>(const SweepProduct&) const = default;

  double flops() const;
};

// Of one tensor rank. Floating-point operations: a multiplication and an addition are two.
struct MinimumWork {
  std::map<SweepProduct, std::int64_t> products;  // how many of each
  double attention_flops = 0;
  std::int64_t rows = 0;  // of bases and perturbations

  double product_flops() const;

  double flops() const { return product_flops() + attention_flops; }
};

struct WorkOptions {
  int tensor_parallel = 1;
  SweepCompute compute = SweepCompute::Float32;
};

// Adds what is left of a sweep after every saving: layer 0's projections of the bases alone, in the
// last layer keys and values of all rows and all else of target rows, logits of target rows,
// attention to the keys that a row sees. A mixture's rows count as spread evenly over the experts.
// Of tensor rank 0, whose share is the largest. Requires: at least one layer.
void add_minimum_work(
    const DecoderConfig& config,
    const WorkOptions& options,
    const SweepLayout& layout,
    MinimumWork& work);

}  // namespace limn
