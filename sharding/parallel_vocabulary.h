// The two ends of a language model whose vocabulary is spread over the tensor ranks of a group.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "sharding/communicator.h"
#include "sharding/shard_layout.h"

namespace limn {

// A block of logits is 16 MiB in float32: the products are large, a vocabulary of any size costs no
// more memory, and the C library keeps the memory for the next block (glibc maps what is larger
// than 32 MiB anew each time).
inline constexpr std::int64_t kLogitRows = 512;
inline constexpr std::int64_t kLogitIds = 8192;
inline constexpr std::int64_t kGpuLogitRows = 8192;
// Rows of a block that are copied to another type at a time.
inline constexpr std::int64_t kLogitCopyRows = 64;

// Borrows: the communicator.
struct VocabularyParallelEmbedding {
  at::Tensor weight;  // [vocab/t, hidden]
  Slice vocabulary;   // the ids of its rows
  Communicator* tensor_ranks = nullptr;

  // [rows] int64 -> [rows, hidden] float32, exactly the rows of the whole table. Collective. Waits.
  at::Tensor operator()(const at::Tensor& token_ids) const;
};

// log softmax(softcap(scale (x W^T + b)))[row, target of the row], W spread by rows; softcap(s) = c
// tanh(s / c). Borrows: the communicator.
struct VocabularyParallelLogProb {
  at::Tensor weight;  // [vocab/t, hidden]
  at::Tensor bias;    // [vocab/t], float32; undefined: none
  Slice vocabulary;   // the ids of its rows
  double scale = 1;
  double softcap = 0;  // c; 0: none
  Communicator* tensor_ranks = nullptr;

  // [targets, hidden] and [targets] int64 -> [targets] float64. Logits are made for a bounded
  // number of rows at a time. Collective. Waits.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& target_ids) const;

  // The id of the largest logit of each row, the first one of equals: [rows, hidden] -> [rows]
  // int64. Collective. Waits.
  at::Tensor most_likely(const at::Tensor& x) const;

  // The same as the first for rows that are given as their difference from a base row: [targets,
  // hidden], with `base` [base rows, hidden] and `base_row` [targets] int64. The difference is
  // multiplied in bfloat16. Collective. Waits.
  at::Tensor of_differences(
      const at::Tensor& difference,
      const at::Tensor& target_ids,
      const at::Tensor& base,
      const at::Tensor& base_row) const;

 private:
  // Calls take(first row, ids of the shard, logits [rows, ids]) for all logits of this rank, block
  // by block. `products_of(weight)` prepares a block of ids and returns what makes the products of
  // a range of rows with it.
  template <typename ProductsOf, typename Take>
  void each_block(std::int64_t rows, const ProductsOf& products_of, const Take& take) const;

  template <typename ProductsOf>
  at::Tensor log_probs(const at::Tensor& target_ids, const ProductsOf& products_of) const;
};

}  // namespace limn
