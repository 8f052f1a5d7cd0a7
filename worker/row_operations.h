// What happens to rows between two matrix products, as tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include "worker/decoder_config.h"
#include "worker/norm.h"

namespace limn {

// Rows of the base that others are differences from: `values` [base rows, width] float32, and
// `row` [rows] int64, which of them; undefined: the rows in order.
struct BaseRows {
  at::Tensor values;
  at::Tensor row;
};

// What a kernel adds before and subtracts behind its function; absent where undefined.
struct RowTerms {
  BaseRows base;
  BaseRows minus;
  at::ScalarType out = at::kFloat;  // or bfloat16
  // Of an activation: `minus` is the function of `base`, so that a GPU, where arithmetic is faster
  // than memory, may compute it again.
  bool minus_is_of_base = false;
  // Of [rows] int32, in which a GPU computes the rows: those of the same base row together, which
  // is then in its cache; undefined: as they lie.
  at::Tensor order;
};

// scale * x + base - minus. x [rows, width] float32 or bfloat16, each row contiguous -> the same
// shape.
at::Tensor combined_rows(const at::Tensor& x, double scale, const RowTerms& terms);

// norm(x + base) - minus
at::Tensor normed_rows(const at::Tensor& x, const Norm& norm, const RowTerms& terms);

// activation(x + base) - minus; gated: [rows, 2 width] -> [rows, width], the activation of the
// first half times the second.
at::Tensor activated_rows(
    const at::Tensor& x, Activation activation, bool gated, const RowTerms& terms);

}  // namespace limn
