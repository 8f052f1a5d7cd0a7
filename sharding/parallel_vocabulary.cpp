#include "sharding/parallel_vocabulary.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "sharding/parallel_linear.h"

namespace limn {

namespace {

// Logits of 256 rows and a vocabulary of 150,000 are 154 MB in float32.
constexpr std::int64_t kLogitRows = 256;

// Where an id has a row in a shard, and which; 0 where it has none.
struct LocalIds {
  at::Tensor held;  // [rows] bool
  at::Tensor row;   // [rows] int64
};

LocalIds local_ids(const at::Tensor& ids, const Slice& vocabulary) {
  const at::Tensor held = ids.ge(vocabulary.begin).logical_and_(ids.lt(vocabulary.end));
  return {held, (ids - vocabulary.begin).masked_fill_(held.logical_not(), 0)};
}

// [targets, hidden] -> [targets, vocab/t]
at::Tensor logits_of(const VocabularyParallelLogProb& head, const at::Tensor& x) {
  at::Tensor logits_shard = product(x, head.weight);
  if (head.bias.defined()) logits_shard.add_(head.bias);
  if (head.scale != 1) logits_shard.mul_(head.scale);
  if (head.softcap != 0) logits_shard.div_(head.softcap).tanh_().mul_(head.softcap);
  return logits_shard;
}

at::Tensor log_prob(
    const VocabularyParallelLogProb& head, const at::Tensor& x, const at::Tensor& ids) {
  const at::Tensor logits_shard = logits_of(head, x);  // [targets, vocab/t]

  at::Tensor largest = logits_shard.amax(1);  // [targets]
  head.tensor_ranks->all_reduce(largest, ReduceOp::Max);

  // Of each rank: its addend of the sum of exponentials, and the target's logit if it holds the
  // target. Summed in float64: a vocabulary has 10^5 addends, and deltas are differences of what
  // comes out.
  const LocalIds local = local_ids(ids, head.vocabulary);
  const at::Tensor shifted = logits_shard - largest.unsqueeze(1);
  at::Tensor sums = at::empty({2, x.size(0)}, x.options().dtype(at::kDouble));
  sums[0].copy_(shifted.exp().sum(1, /*keepdim=*/false, at::kDouble));
  sums[1].copy_(shifted.gather(1, local.row.unsqueeze(1)).squeeze(1).mul_(local.held));
  head.tensor_ranks->all_reduce(sums, ReduceOp::Sum);
  return sums[1] - sums[0].log();
}

}  // namespace

at::Tensor VocabularyParallelEmbedding::operator()(const at::Tensor& token_ids) const {
  const LocalIds local = local_ids(token_ids, vocabulary);
  at::Tensor x = weight.index_select(0, local.row).to(at::kFloat);  // [rows, hidden]
  x.mul_(local.held.unsqueeze(1));
  // One rank's row and zeros: the sum is exact.
  tensor_ranks->all_reduce(x, ReduceOp::Sum);
  return x;
}

at::Tensor VocabularyParallelLogProb::operator()(
    const at::Tensor& x, const at::Tensor& target_ids) const {
  // Once for all pieces.
  VocabularyParallelLogProb head = *this;
  head.weight = weight.to(at::kFloat);
  std::vector<at::Tensor> pieces;
  for (std::int64_t begin = 0; begin < x.size(0); begin += kLogitRows) {
    const std::int64_t count = std::min(kLogitRows, x.size(0) - begin);
    pieces.push_back(log_prob(head, x.narrow(0, begin, count), target_ids.narrow(0, begin, count)));
  }
  return at::cat(pieces);
}

}  // namespace limn
