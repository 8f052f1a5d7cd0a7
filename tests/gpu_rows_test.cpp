// The GPU's kernels for rows against those of the CPU: on an emulated GPU, and on the one that is
// there.

#include "worker/gpu/gpu_rows.h"

#include <functional>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/emulated_programs.h"
#include "tests/gpu_under_test.h"
#include "tests/random_tensor.h"
#include "worker/kernels/cpu_kernels.h"
#include "worker/row_operations.h"

namespace limn::test {

namespace {

constexpr double kRounding = 1e-5;
constexpr double kBfloat16Rounding = 1.0 / 128;

enum class Where { Emulated, Device };

class GpuRowsTest : public testing::TestWithParam<Where> {
 protected:
  void SetUp() override {
    if (is_emulated()) return;
    if (const auto reason = why_no_gpu()) GTEST_SKIP() << *reason;
  }

  bool is_emulated() const { return GetParam() == Where::Emulated; }

  at::Device device() const { return is_emulated() ? at::Device(at::kCPU) : gpu_under_test(); }

  GpuPrograms& programs() { return is_emulated() ? emulated_ : gpu_programs(); }

  at::Tensor there(const at::Tensor& tensor) const {
    return tensor.defined() ? tensor.to(device()) : tensor;
  }

  RowTerms there(const RowTerms& terms) const {
    return {
        .base = {there(terms.base.values), there(terms.base.row)},
        .minus = {there(terms.minus.values), there(terms.minus.row)},
        .out = terms.out};
  }

  // Compares what `on_cpu` and `on_gpu` make of rows of many widths, with every choice of terms and
  // dtypes. `inputs` are as wide as `factor` outputs.
  void compare(
      std::int64_t factor,
      const std::function<at::Tensor(const at::Tensor&, const RowTerms&)>& on_cpu,
      const std::function<at::Tensor(const at::Tensor&, const RowTerms&)>& on_gpu) {
    const at::Tensor row = at::tensor({2, 0, 1, 1, 2, 0, 0, 2, 1, 1, 0}, at::kLong);
    std::vector<std::int64_t> widths{6, 100, 1028};
    if (!is_emulated()) widths.insert(widths.end(), {1, 64, 2050, 9001});
    for (const std::int64_t width : widths) {
      const at::Tensor x = random_tensor({11, factor * width}, 1).to(at::kFloat);
      const BaseRows base{random_tensor({3, factor * width}, 2).to(at::kFloat), row};
      const BaseRows minus{random_tensor({3, width}, 3).to(at::kFloat), row};
      for (const at::ScalarType in : {at::kFloat, at::kBFloat16}) {
        for (const at::ScalarType out : {at::kFloat, at::kBFloat16}) {
          const double bound = out == at::kFloat ? kRounding : kBfloat16Rounding;
          for (const RowTerms& terms :
               {RowTerms{.out = out},
                RowTerms{.base = base, .out = out},
                RowTerms{.minus = minus, .out = out},
                RowTerms{.base = base, .minus = minus, .out = out}}) {
            const at::Tensor expected = on_cpu(x.to(in), terms).to(at::kDouble);
            const at::Tensor got = on_gpu(there(x.to(in)), there(terms));
            EXPECT_EQ(got.scalar_type(), out);
            const double error = largest_error(got.to(at::kCPU), expected);
            EXPECT_LT(error, bound * (1 + expected.abs().max().item<double>())) << width;
          }
        }
      }
    }
  }

  EmulatedPrograms emulated_{227 << 10};
};

}  // namespace

TEST_P(GpuRowsTest, CombinesRows) {
  compare(
      1,
      [](const at::Tensor& x, const RowTerms& terms) { return combined_rows(x, 0.3, terms); },
      [&](const at::Tensor& x, const RowTerms& terms) {
        return gpu_combined_rows(x, 0.3, terms, programs());
      });
}

TEST_P(GpuRowsTest, NormsRows) {
  for (const bool subtracts_mean : {false, true}) {
    for (const bool has_weight : {false, true}) {
      const auto norm_for = [&](std::int64_t width) {
        Norm norm{.subtracts_mean = subtracts_mean, .epsilon = 1e-5};
        if (has_weight) {
          norm.weight = random_tensor({width}, 4).to(at::kFloat);
          norm.bias = random_tensor({width}, 5).to(at::kFloat);
        }
        return norm;
      };
      compare(
          1,
          [&](const at::Tensor& x, const RowTerms& terms) {
            return normed_rows(x, norm_for(x.size(1)), terms);
          },
          [&](const at::Tensor& x, const RowTerms& terms) {
            Norm norm = norm_for(x.size(1));
            norm.weight = there(norm.weight);
            norm.bias = there(norm.bias);
            return gpu_normed_rows(x, norm, terms, programs());
          });
    }
  }
}

TEST_P(GpuRowsTest, ActivatesRows) {
  for (const Activation activation :
       {Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu}) {
    for (const bool gated : {false, true}) {
      compare(
          gated ? 2 : 1,
          [&](const at::Tensor& x, const RowTerms& terms) {
            return activated_rows(x, activation, gated, terms);
          },
          [&](const at::Tensor& x, const RowTerms& terms) {
            return gpu_activated_rows(x, activation, gated, terms, programs());
          });
    }
  }
}

TEST_P(GpuRowsTest, SubtractsTheActivationOfTheBaseItself) {
  const at::Tensor row = at::tensor({2, 0, 1, 1}, at::kLong);
  for (const bool gated : {false, true}) {
    const at::Tensor x = random_tensor({4, 24}, 1).to(at::kFloat);
    const at::Tensor base = random_tensor({3, 24}, 2).to(at::kFloat);
    const at::Tensor of_base = activated_rows(base, Activation::Silu, gated, {});
    const RowTerms terms{.base = {base, row}, .minus = {of_base, row}};
    const at::Tensor expected = activated_rows(x, Activation::Silu, gated, terms);
    RowTerms on_gpu = there(terms);
    on_gpu.minus_is_of_base = true;
    const at::Tensor got =
        gpu_activated_rows(there(x), Activation::Silu, gated, on_gpu, programs());
    EXPECT_LT(largest_error(got.to(at::kCPU), expected.to(at::kDouble)), 1e-6);
  }
}

TEST_P(GpuRowsTest, ComputesRowsInTheOrderThatIsAskedFor) {
  const at::Tensor x = random_tensor({5, 64}, 1).to(at::kFloat);
  const RowTerms terms{.order = there(at::tensor({3, 0, 4, 1, 2}, at::kInt))};
  const at::Tensor got = gpu_combined_rows(there(x), 1, terms, programs());
  EXPECT_TRUE(at::equal(got.to(at::kCPU), x));
}

TEST_P(GpuRowsTest, NormsHeadsAmongOthers) {
  const Norm norm{.epsilon = 1e-5};
  for (const std::int64_t width : {8, 7}) {
    const at::Tensor all = random_tensor({5, 6 * width}, 1).to(at::kFloat);
    const at::Tensor heads = all.view({5, 6, width}).narrow(1, 2, 3);
    const at::Tensor expected = normed_rows(heads.reshape({15, width}), norm, {});
    const at::Tensor there_all = there(all).view({5, 6, width}).narrow(1, 2, 3);
    const at::Tensor got = gpu_normed_rows(there_all, norm, {}, programs());
    EXPECT_LT(largest_error(got.to(at::kCPU), expected.to(at::kDouble)), 1e-6);
  }
}

TEST_P(GpuRowsTest, ScalesRowsToFloat8) {
  if (!is_emulated() && gpu_capability() < 89) GTEST_SKIP() << "this GPU has no float8";
  for (const std::int64_t width : {16, 1040}) {
    at::Tensor x =
        (random_tensor({9, width}, 1) * at::logspace(-8, 4, 9).unsqueeze(1)).to(at::kBFloat16);
    x[3].zero_();
    const ScaledRows scaled = gpu_scaled_rows(there(x), programs());
    const at::Tensor scale = scaled.scale.to(at::kCPU);
    const at::Tensor values = scaled.values.to(at::kCPU);
    const at::Tensor largest = x.to(at::kFloat).abs().amax(1, /*keepdim=*/true);
    EXPECT_TRUE(at::allclose(scale, at::where(largest > 0, largest / 448, 1.0)));
    EXPECT_TRUE(at::equal(
        values.to(at::kFloat), (x.to(at::kFloat) / scale).to(at::kFloat8_e4m3fn).to(at::kFloat)));
  }
}

TEST_P(GpuRowsTest, TakesRowsOfAWiderMatrix) {
  const at::Tensor all = random_tensor({5, 24}, 1).to(at::kFloat);
  // At every place: what is not aligned is not taken four at a time.
  for (const std::int64_t begin : {0, 1, 2, 4, 8}) {
    const at::Tensor got =
        gpu_combined_rows(there(all).narrow(1, begin, 16), 1, {}, programs()).to(at::kCPU);
    EXPECT_TRUE(at::equal(got, all.narrow(1, begin, 16))) << begin;
  }
}

TEST_P(GpuRowsTest, RotatesHeads) {
  for (const bool neighbours : {false, true}) {
    const at::Tensor angles = random_tensor({7, 3}, 1);
    const at::Tensor cos = angles.cos().to(at::kFloat);
    const at::Tensor sin = angles.sin().to(at::kFloat);
    const at::Tensor table_row = at::tensor({6, 0, 3, 3, 1}, at::kLong);
    const auto rotated = [&](const at::Tensor& x, const auto& rotate) {
      at::Tensor y = x.clone();
      const at::Tensor on[] = {table_row.to(x.device()), cos.to(x.device()), sin.to(x.device())};
      rotate(RotationTask{
          .x = y.mutable_data_ptr<float>(),
          .row_stride = y.stride(0),
          .num_heads = 2,
          .head_dim = 8,
          .table_row = on[0].const_data_ptr<std::int64_t>(),
          .cos = on[1].const_data_ptr<float>(),
          .sin = on[2].const_data_ptr<float>(),
          .num_pairs = 3,
          .pairs_neighbours = neighbours});
      return y.to(at::kCPU);
    };
    const at::Tensor x = random_tensor({5, 3, 8}, 2).to(at::kFloat);
    const at::Tensor expected =
        rotated(x, [](const RotationTask& task) { row_kernels().rotate(task, 0, 5); });
    const at::Tensor got =
        rotated(there(x), [&](const RotationTask& task) { gpu_rotate_rows(task, 5, programs()); });
    EXPECT_LT(largest_error(got, expected.to(at::kDouble)), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Gpus, GpuRowsTest, testing::Values(Where::Emulated, Where::Device), [](const auto& parameter) {
      return parameter.param == Where::Emulated ? "Emulated" : "Device";
    });

}  // namespace limn::test
