// Batches for which there is too little memory.
#pragma once

#include <exception>
#include <utility>

#include "sharding/communicator.h"

namespace limn {

// Whether memory, of the machine or of a GPU, was refused.
bool is_out_of_memory(const std::exception_ptr& failure);

// Throws InternalError: there is nothing to be halved any more.
[[noreturn]] void throw_does_not_fit();

// What `run` makes of the batch; where memory runs out, on this rank or on a partner's, of one half
// and then of the other, and so on. Which halves there are depends on the batch alone. `release`
// gives memory back that is kept for later. Collective over `ranks`, which all run the same batch;
// a rank of which memory runs out where GPUs have partners throws what `run` threw.
template <typename Batch, typename Run, typename Release>
auto run_in_memory(
    const Batch& batch, Communicator& ranks, const Run& run, const Release& release) {
  bool gives_up = false;
  try {
    auto result = run(batch);
    ranks.meet();
    return result;
  } catch (const PartnerGaveUp&) {
    // The partner halves it, too.
  } catch (...) {
    if (!is_out_of_memory(std::current_exception())) throw;
    gives_up = true;
  }
  // What was in memory is gone here.
  release();
  if (gives_up) ranks.give_up();
  if (!can_be_halved(batch)) throw_does_not_fit();
  const auto [first, second] = halves_of(batch);
  auto first_result = run_in_memory(first, ranks, run, release);
  auto second_result = run_in_memory(second, ranks, run, release);
  return joined(batch, std::move(first_result), std::move(second_result));
}

}  // namespace limn
