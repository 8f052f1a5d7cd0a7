#include "worker/key_factors.h"

#include <ATen/ATen.h>

namespace limn {

namespace {

constexpr double kIdenticalWithin = 1e-6;

// Gives keys that are similar to the suppressed ones their factors.
void add_correlated(
    const at::Tensor& suppressed,  // [n] int64
    const Suppression& suppression,
    const at::Tensor& similarity,
    std::vector<double>& factor_of_key) {
  const at::Tensor largest = similarity.index_select(1, suppressed).amax(1).contiguous();
  const auto* const c = largest.const_data_ptr<double>();
  const double f = suppression.factor;
  for (std::size_t key = 0; key < factor_of_key.size(); ++key) {
    if (c[key] >= suppression.similarity_threshold) factor_of_key[key] = (1 - f) * (1 - c[key]) + f;
  }
}

}  // namespace

at::Tensor embedding_similarity(const at::Tensor& embeddings) {
  const at::Tensor exact = embeddings.to(at::kDouble);
  const at::Tensor norm = exact.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
  const at::Tensor unit_length = exact / norm;
  at::Tensor cosine = unit_length.mm(unit_length.t());
  return cosine.masked_fill_(cosine.gt(1.0 - kIdenticalWithin), 1.0);
}

KeyFactors key_factors(
    const Perturbation& perturbation,
    const Suppression& suppression,
    std::int64_t fed_length,
    const at::Tensor& similarity) {
  std::vector<std::int64_t> suppressed;
  for (const std::int32_t position : perturbation.positions) {
    if (position < fed_length) suppressed.push_back(position);
  }
  std::vector<double> factor_of_key(static_cast<std::size_t>(fed_length), 1.0);
  if (similarity.defined() && !suppressed.empty()) {
    add_correlated(at::tensor(suppressed, at::kLong), suppression, similarity, factor_of_key);
  }
  for (const std::int64_t position : suppressed) {
    factor_of_key[static_cast<std::size_t>(position)] = suppression.factor;
  }
  if (suppression.spare_first_token && fed_length > 0) factor_of_key[0] = 1.0;

  KeyFactors factors;
  for (std::int64_t key = 0; key < fed_length; ++key) {
    const auto factor = static_cast<float>(factor_of_key[static_cast<std::size_t>(key)]);
    if (factor == 1.0F) continue;
    factors.positions.push_back(key);
    factors.factors.push_back(factor);
  }
  return factors;
}

std::vector<std::vector<KeyFactors>> batch_factors(
    const Batch& batch, const Suppression& suppression, const at::Tensor& embeddings) {
  std::vector<std::vector<KeyFactors>> factors;
  std::int64_t row = 0;
  for (const BatchPiece& piece : batch.pieces) {
    at::Tensor similarity;
    if (suppression.similarity_threshold > 0) {
      similarity = embedding_similarity(embeddings.narrow(0, row, piece.fed_length()).to(at::kCPU));
    }
    auto& of_piece = factors.emplace_back();
    for (const Perturbation& perturbation : piece.perturbations) {
      of_piece.push_back(key_factors(perturbation, suppression, piece.fed_length(), similarity));
    }
    row += piece.fed_length();
  }
  return factors;
}

}  // namespace limn
