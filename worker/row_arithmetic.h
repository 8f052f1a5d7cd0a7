// How the rows of a sweep are carried through a layer: as values, or as differences from the base.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include <ATen/core/Tensor.h>

#include "sharding/parallel_linear.h"
#include "sharding/parallel_vocabulary.h"
#include "worker/decoder_weights.h"
#include "worker/norm.h"
#include "worker/row_operations.h"

namespace limn {

// The places of a layer at which rows that are differences need the base's values.
enum class Stage {
  AttentionInNorm,
  Projections,
  AttentionOut,
  AttentionOutNorm,
  MlpInNorm,
  Mlp,
  MlpOutNorm,
  FinalNorm,
  Head,
  Count,
};

// What the base had at every stage of the layer that is under way: [base rows, ...] float32.
struct BaseTrace {
  struct Values {
    at::Tensor in;
    at::Tensor inner;      // of a dense MLP: behind the first product, before the activation
    at::Tensor activated;  // of a dense MLP: behind the activation
    at::Tensor out;        // of the attention's output projection: this rank's addend
  };

  std::array<Values, static_cast<std::size_t>(Stage::Count)> stages;

  Values& at(Stage stage) { return stages[static_cast<std::size_t>(stage)]; }

  const Values& at(Stage stage) const { return stages[static_cast<std::size_t>(stage)]; }
};

// Every function takes rows of the residual stream or of a branch of it, [rows, width] float32, and
// returns some; those of the linear layers are computed in the dtype of the weights. A linear
// layer's output is summed over the tensor ranks: then the call is collective.
class RowArithmetic {
 public:
  virtual ~RowArithmetic() = default;

  // As `out`: float32, or bfloat16 for rows that go into a product of that dtype and nowhere else.
  // A norm that is not there is the identity.
  virtual at::Tensor norm(
      Stage stage, const std::optional<Norm>& norm, const at::Tensor& x, at::ScalarType out) = 0;

  // The projections to queries, keys and values, as values, in memory of their own.
  virtual at::Tensor projections(const ColumnParallelLinear& linear, const at::Tensor& x) = 0;

  // From the attention's output, which is given as values.
  virtual at::Tensor attention_out(const RowParallelLinear& linear, const at::Tensor& values) = 0;

  virtual at::Tensor mlp(const LayerWeights& layer, at::Tensor x) = 0;

  // From here on only the target rows are given.
  virtual void keep_targets() {}

  // Behind the last layer: [rows] float64.
  virtual at::Tensor log_probs(
      const VocabularyParallelLogProb& head, const at::Tensor& x, const at::Tensor& ids) = 0;
};

// Rows as values. With a trace: writes into it what differences from these rows will need.
class ValueRows final : public RowArithmetic {
 public:
  explicit ValueRows(BaseTrace* trace = nullptr) : trace_(trace) {}

  at::Tensor norm(
      Stage stage,
      const std::optional<Norm>& norm,
      const at::Tensor& x,
      at::ScalarType out) override;
  at::Tensor projections(const ColumnParallelLinear& linear, const at::Tensor& x) override;
  at::Tensor attention_out(const RowParallelLinear& linear, const at::Tensor& values) override;
  at::Tensor mlp(const LayerWeights& layer, at::Tensor x) override;
  at::Tensor log_probs(
      const VocabularyParallelLogProb& head, const at::Tensor& x, const at::Tensor& ids) override;

 private:
  void record(Stage stage, const BaseTrace::Values& values);

  BaseTrace* trace_;
};

// Rows as their difference from the base row of the same sample and position: linear layers
// multiply the difference, so that rounding is relative to it, and what is not linear is evaluated
// at base + difference, less the base's own value. The same computation, algebraically.
class DifferenceRows final : public RowArithmetic {
 public:
  // Rows at hand: each one's own among the base's, [rows] int64; those that see hidden keys alone,
  // by index, [hidden rows] int64; and RowTerms::order.
  struct Rows {
    at::Tensor base_row;
    at::Tensor hidden;
    at::Tensor order;
  };

  // `targets`: what keep_targets() leaves. Borrows: the trace.
  DifferenceRows(const BaseTrace& trace, Rows all, Rows targets)
      : trace_(trace),
        rows_(std::move(all)),
        targets_(std::move(targets)) {}

  void keep_targets() override { rows_ = targets_; }

  at::Tensor norm(
      Stage stage,
      const std::optional<Norm>& norm,
      const at::Tensor& x,
      at::ScalarType out) override;
  at::Tensor projections(const ColumnParallelLinear& linear, const at::Tensor& x) override;
  at::Tensor attention_out(const RowParallelLinear& linear, const at::Tensor& values) override;
  at::Tensor mlp(const LayerWeights& layer, at::Tensor x) override;
  at::Tensor log_probs(
      const VocabularyParallelLogProb& head, const at::Tensor& x, const at::Tensor& ids) override;

 private:
  // The rows' own base rows.
  BaseRows of_base(const at::Tensor& values) const;

  const BaseTrace& trace_;
  Rows rows_;
  Rows targets_;
};

}  // namespace limn
