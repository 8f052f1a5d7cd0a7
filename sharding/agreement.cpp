#include "sharding/agreement.h"

#include <cstdint>

#include <ATen/ATen.h>

namespace limn {

void throw_together(Communicator& ranks, std::exception_ptr mine) {
  // The largest of these is that of the lowest rank that failed; 0: none did.
  const std::int64_t claim = mine ? ranks.size() - ranks.rank() : 0;
  at::Tensor largest = at::full({1}, claim, at::kLong);
  ranks.all_reduce(largest, ReduceOp::Max);
  const auto winner = largest.item<std::int64_t>();
  if (winner == 0) return;

  const int speaker = ranks.size() - static_cast<int>(winner);
  const bool speaks = speaker == ranks.rank();
  FailureText failure{ExitCode::Internal, "another rank failed"};
  if (speaks) failure = failure_text(mine);
  at::Tensor exit_code = at::full({1}, static_cast<std::int64_t>(failure.exit_code), at::kLong);
  ranks.broadcast(exit_code, speaker);
  failure.exit_code = static_cast<ExitCode>(exit_code.item<std::int64_t>());
  throw AgreedError(failure, speaks);
}

bool told_by(Communicator& ranks, int speaker, bool said) {
  at::Tensor value = at::full({1}, said ? 1 : 0, at::kLong);
  ranks.broadcast(value, speaker);
  return value.item<std::int64_t>() == 1;
}

}  // namespace limn
