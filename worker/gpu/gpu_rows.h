// The row operations on a GPU: worker/row_operations.h says what they compute. All tensors on one
// GPU. Do not wait.
#pragma once

#include <ATen/core/Tensor.h>

#include "worker/gpu/gpu_program.h"
#include "worker/kernels/row_kernel.h"
#include "worker/row_operations.h"

namespace limn {

at::Tensor gpu_combined_rows(
    const at::Tensor& x,
    double scale,
    const RowTerms& terms,
    GpuPrograms& programs = gpu_programs());

// Rows may lie in groups at any distance, as the heads of rows do: [groups, rows of a group, width]
// -> [groups * rows of a group, width].
at::Tensor gpu_normed_rows(
    const at::Tensor& x,
    const Norm& norm,
    const RowTerms& terms,
    GpuPrograms& programs = gpu_programs());

at::Tensor gpu_activated_rows(
    const at::Tensor& x,
    Activation activation,
    bool gated,
    const RowTerms& terms,
    GpuPrograms& programs = gpu_programs());

// x [rows, width] as float8 e4m3 with a scale for each row, which brings its largest value to
// float8's largest: x = values * scale. The width is a multiple of 4.
struct ScaledRows {
  at::Tensor values;  // [rows, width] float8_e4m3fn
  at::Tensor scale;   // [rows, 1] float32
};

ScaledRows gpu_scaled_rows(const at::Tensor& x, GpuPrograms& programs = gpu_programs());

// As the kernel of CPUs, of all `num_rows` rows.
void gpu_rotate_rows(
    const RotationTask& task, std::int64_t num_rows, GpuPrograms& programs = gpu_programs());

}  // namespace limn
