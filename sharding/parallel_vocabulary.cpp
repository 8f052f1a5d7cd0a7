#include "sharding/parallel_vocabulary.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include <ATen/ATen.h>

#include "sharding/parallel_linear.h"

namespace limn {

namespace {

// Where an id has a row in a shard, and which; 0 where it has none.
struct LocalIds {
  at::Tensor held;  // [rows] bool
  at::Tensor row;   // [rows] int64
};

LocalIds local_ids(const at::Tensor& ids, const Slice& vocabulary) {
  const at::Tensor held = ids.ge(vocabulary.begin).logical_and_(ids.lt(vocabulary.end));
  return {held, (ids - vocabulary.begin).masked_fill_(held.logical_not(), 0)};
}

// Calls add(x, to) for a few rows of x [rows, ...] and of `to` [rows, ...] at a time: ATen copies
// what it adds to a tensor of another dtype.
template <typename Add>
void add_by_rows(const at::Tensor& x, const at::Tensor& to, const Add& add) {
  if (x.is_cuda()) return add(x, to);  // there it converts on the way
  for (std::int64_t row = 0; row < x.size(0); row += kLogitCopyRows) {
    const std::int64_t count = std::min(kLogitCopyRows, x.size(0) - row);
    add(x.narrow(0, row, count), to.narrow(0, row, count));
  }
}

// The softmax of rows of logits that come a block at a time (Milakov and Gimelshein 2018). Sums are
// float64: a vocabulary has 10^5 addends, and deltas are differences of what comes out.
struct RunningSoftmax {
  at::Tensor largest;       // [rows], of the logits so far
  at::Tensor sum;           // [rows] float64, of exp(logit - largest)
  at::Tensor target_logit;  // [rows] float64, 0 until its block has come

  static RunningSoftmax of(std::int64_t rows, at::Device device) {
    const at::TensorOptions options(device);
    return {
        at::full({rows}, -std::numeric_limits<float>::infinity(), options.dtype(at::kFloat)),
        at::zeros({rows}, options.dtype(at::kDouble)),
        at::zeros({rows}, options.dtype(at::kDouble))};
  }

  // The members of some rows.
  RunningSoftmax rows(std::int64_t begin, std::int64_t count) const {
    return {
        largest.narrow(0, begin, count),
        sum.narrow(0, begin, count),
        target_logit.narrow(0, begin, count)};
  }

  // Takes in logits [rows, ids], whose contents are lost. `ids` of the rows' targets among them.
  void add(at::Tensor& logits, const LocalIds& ids) {
    target_logit.add_(logits.gather(1, ids.row.unsqueeze(1)).squeeze(1).mul_(ids.held));
    rescale(at::maximum(largest, logits.amax(1)));
    add_by_rows(logits.sub_(largest.unsqueeze(1)).exp_(), sum, [](const auto& x, const auto& sums) {
      sums.add_(x.sum(1, /*keepdim=*/false, at::kDouble));
    });
  }

  // In place, for these members may be parts of others.
  void rescale(const at::Tensor& new_largest) {
    sum.mul_((largest - new_largest).to(at::kDouble).exp_());
    largest.copy_(new_largest);
  }
};

}  // namespace

at::Tensor VocabularyParallelEmbedding::operator()(const at::Tensor& token_ids) const {
  const LocalIds local = local_ids(token_ids, vocabulary);
  at::Tensor x = weight.index_select(0, local.row).to(at::kFloat);  // [rows, hidden]
  x.mul_(local.held.unsqueeze(1));
  // One rank's row and zeros: the sum is exact.
  tensor_ranks->all_reduce(x, ReduceOp::Sum);
  return x;
}

template <typename ProductsOf, typename Take>
void VocabularyParallelLogProb::each_block(
    std::int64_t rows, const ProductsOf& products_of, const Take& take) const {
  // A GPU wants more at a time, and has the memory.
  const std::int64_t block_rows = weight.is_cuda() ? kGpuLogitRows : kLogitRows;
  for (std::int64_t id = 0; id < weight.size(0); id += kLogitIds) {
    const std::int64_t num_ids = std::min(kLogitIds, weight.size(0) - id);
    const auto products = products_of(weight.narrow(0, id, num_ids));
    const Slice block_ids{vocabulary.begin + id, vocabulary.begin + id + num_ids};
    for (std::int64_t row = 0; row < rows; row += block_rows) {
      at::Tensor logits = products(row, std::min(block_rows, rows - row));
      if (bias.defined()) logits.add_(bias.narrow(0, id, num_ids));
      if (scale != 1) logits.mul_(scale);
      if (softcap != 0) logits.div_(softcap).tanh_().mul_(softcap);
      take(row, block_ids, logits);
    }
  }
}

template <typename ProductsOf>
at::Tensor VocabularyParallelLogProb::log_probs(
    const at::Tensor& target_ids, const ProductsOf& products_of) const {
  const std::int64_t rows = target_ids.size(0);
  RunningSoftmax softmax = RunningSoftmax::of(rows, weight.device());
  each_block(rows, products_of, [&](std::int64_t row, const Slice& ids, at::Tensor& logits) {
    const std::int64_t num_rows = logits.size(0);
    softmax.rows(row, num_rows).add(logits, local_ids(target_ids.narrow(0, row, num_rows), ids));
  });

  // The ranks' softmaxes over their own ids become one over all.
  at::Tensor largest = softmax.largest.clone();
  tensor_ranks->all_reduce(largest, ReduceOp::Max);
  softmax.rescale(largest);
  at::Tensor sums = at::stack({softmax.sum, softmax.target_logit});
  tensor_ranks->all_reduce(sums, ReduceOp::Sum);
  return sums[1] - sums[0].log() - largest.to(at::kDouble);
}

namespace {

// x W^T for rows of x, with a block of a head's weight as float32.
class BlockProduct {
 public:
  explicit BlockProduct(const at::Tensor& weight)
      : is_wide_(is_wide_as_kept(weight)),
        // Converted once for all rows.
        weight_(is_wide_ ? weight : weight.to(at::kFloat)) {}

  at::Tensor operator()(const at::Tensor& x) const {
    return is_wide_ ? wide_product(x, weight_) : product(x, weight_);
  }

 private:
  bool is_wide_;
  at::Tensor weight_;
};

// Products of the rows of x with any block of ids.
auto products_with(const at::Tensor& x) {
  return [&x](const at::Tensor& ids) {
    return [&x, block = BlockProduct(ids)](std::int64_t row, std::int64_t count) {
      return block(x.narrow(0, row, count));
    };
  };
}

}  // namespace

at::Tensor VocabularyParallelLogProb::operator()(
    const at::Tensor& x, const at::Tensor& target_ids) const {
  return log_probs(target_ids, products_with(x));
}

at::Tensor VocabularyParallelLogProb::most_likely(const at::Tensor& x) const {
  const at::TensorOptions options(weight.device());
  at::Tensor largest =
      at::full({x.size(0)}, -std::numeric_limits<float>::infinity(), options.dtype(at::kFloat));
  at::Tensor id = at::zeros({x.size(0)}, options.dtype(at::kLong));
  const auto take = [&](std::int64_t row, const Slice& ids, const at::Tensor& logits) {
    const at::Tensor column = logits.argmax(1, /*keepdim=*/true);
    const at::Tensor value = logits.gather(1, column).squeeze(1);
    at::Tensor so_far = largest.narrow(0, row, logits.size(0));
    at::Tensor id_so_far = id.narrow(0, row, logits.size(0));
    const at::Tensor is_larger = value > so_far;
    id_so_far.copy_(at::where(is_larger, column.squeeze(1) + ids.begin, id_so_far));
    so_far.copy_(at::where(is_larger, value, so_far));
  };
  each_block(x.size(0), products_with(x), take);
  // Ranks hold the ids in their order: of equals the first rank's comes first.
  const at::Tensor rank = tensor_ranks->all_gather(largest).argmax(0, /*keepdim=*/true);
  return tensor_ranks->all_gather(id).gather(0, rank).squeeze(0);
}

at::Tensor VocabularyParallelLogProb::of_differences(
    const at::Tensor& difference,
    const at::Tensor& target_ids,
    const at::Tensor& base,
    const at::Tensor& base_row) const {
  return log_probs(target_ids, [&](const at::Tensor& ids) {
    const at::Tensor base_logits = BlockProduct(ids)(base);
    return [&, base_logits, block = ids.to(at::kBFloat16)](std::int64_t row, std::int64_t count) {
      at::Tensor logits = base_logits.index_select(0, base_row.narrow(0, row, count));
      add_by_rows(
          product(difference.narrow(0, row, count), block),
          logits,
          [](const auto& differences, const auto& to) { to.add_(differences); });
      return logits;
    };
  });
}

}  // namespace limn
