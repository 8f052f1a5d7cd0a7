#include "sharding/roll_call.h"

#include <cmath>
#include <cstddef>
#include <string_view>

#include <fmt/ranges.h>

namespace limn {

namespace {

// Letters without contents.
constexpr int kCall = 1;
constexpr int kHere = 2;

using Seconds = std::chrono::duration<double>;

// Who waits for less does not look for letters: it costs more than the wait.
constexpr Seconds kLookAfter(1);

// In which a rank that waits has answered, even one that has just begun to.
constexpr Seconds kAnswerWithin(3);

// "rank 3 on node2" of each rank. Collective.
std::vector<std::string> names_of(const MpiComm& ranks) {
  int world_rank = 0;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank), "MPI_Comm_rank");
  std::string mine = fmt::format("rank {} on {}", world_rank, node_name());
  constexpr std::size_t kSize = MPI_MAX_PROCESSOR_NAME + 32;
  mine.resize(kSize);
  std::string all(kSize * static_cast<std::size_t>(ranks.size()), '\0');
  check_mpi(
      MPI_Allgather(mine.data(), kSize, MPI_CHAR, all.data(), kSize, MPI_CHAR, ranks.get()),
      "MPI_Allgather");
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < all.size(); begin += kSize)
    names.emplace_back(all.c_str() + begin);
  return names;
}

// Does not wait for it to arrive: whom it does not reach has other troubles.
void send_empty(const MpiComm& ranks, int to, int tag) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Isend(nullptr, 0, MPI_CHAR, to, tag, ranks.get(), &request), "MPI_Isend");
  check_mpi(MPI_Request_free(&request), "MPI_Request_free");
}

// The sender of a letter with this tag, which is opened; -1 when there is none.
int receive_empty(const MpiComm& ranks, int tag) {
  int is_there = 0;
  MPI_Status status;
  check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, ranks.get(), &is_there, &status), "MPI_Iprobe");
  if (is_there == 0) return -1;
  const int from = status.MPI_SOURCE;
  check_mpi(MPI_Recv(nullptr, 0, MPI_CHAR, from, tag, ranks.get(), MPI_STATUS_IGNORE), "MPI_Recv");
  return from;
}

}  // namespace

RollCall::RollCall(const MpiComm& ranks, double timeout_s) : ranks_(ranks), timeout_s_(timeout_s) {
  if (std::isfinite(timeout_s)) names_ = names_of(ranks);
}

void RollCall::look_around() {
  const Seconds waited = Clock::now() - begun_at_;
  if (waited < kLookAfter) return;
  answer_calls();
  if (is_calling_) {
    take_answers();
    if (Clock::now() - called_at_ > kAnswerWithin) judge();
  } else if (waited.count() > timeout_s_) {
    call();
  }
}

void RollCall::answer_calls() const {
  for (int from = receive_empty(ranks_, kCall); from >= 0; from = receive_empty(ranks_, kCall))
    send_empty(ranks_, from, kHere);
}

void RollCall::call() {
  take_answers();  // late ones, to an earlier call
  is_calling_ = true;
  called_at_ = Clock::now();
  has_answered_.assign(static_cast<std::size_t>(ranks_.size()), 0);
  has_answered_[static_cast<std::size_t>(ranks_.rank())] = 1;
  for (int rank = 0; rank < ranks_.size(); ++rank)
    if (rank != ranks_.rank()) send_empty(ranks_, rank, kCall);
}

void RollCall::take_answers() {
  for (int from = receive_empty(ranks_, kHere); from >= 0; from = receive_empty(ranks_, kHere)) {
    if (is_calling_) has_answered_[static_cast<std::size_t>(from)] = 1;
  }
}

// Where all are here they have just come, and the wait begins anew.
void RollCall::judge() {
  is_calling_ = false;
  begun_at_ = Clock::now();
  std::vector<std::string_view> missing;
  for (std::size_t rank = 0; rank < has_answered_.size(); ++rank)
    if (has_answered_[rank] == 0) missing.push_back(names_[rank]);
  if (missing.empty()) return;
  throw InternalError(fmt::format(
      "{} waits for partners that have not come to a collective for {:.0f} s; see what they do or "
      "whether their node is well, the same command goes on where this one ended "
      "(parallel.timeout_s sets the patience): {}",
      names_[static_cast<std::size_t>(ranks_.rank())],
      timeout_s_,
      fmt::join(missing, ", ")));
}

}  // namespace limn
