#include "sharding/collective_watch.h"

#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include <fmt/ranges.h>

namespace limn {

namespace {

constexpr int kCall = 1;  // without contents
constexpr int kPlace = 2;

using Seconds = std::chrono::duration<double>;

constexpr auto kLookEvery = std::chrono::milliseconds(200);

// In which every rank that runs has answered.
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

// Small letters leave at once, without a partner that takes them.
void send(const MpiComm& ranks, int to, int tag, const void* data, int size) {
  check_mpi(MPI_Send(data, size, MPI_BYTE, to, tag, ranks.get()), "MPI_Send");
}

// The sender of a letter with this tag, which is read into `data`; nothing when there is none.
std::optional<int> receive(const MpiComm& ranks, int tag, void* data, int size) {
  int is_there = 0;
  MPI_Status status;
  // The second probe sees what the first one's progress brought in.
  for (int probe = 0; probe < 2 && is_there == 0; ++probe) {
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, ranks.get(), &is_there, &status), "MPI_Iprobe");
  }
  if (is_there == 0) return std::nullopt;
  const int from = status.MPI_SOURCE;
  check_mpi(MPI_Recv(data, size, MPI_BYTE, from, tag, ranks.get(), MPI_STATUS_IGNORE), "MPI_Recv");
  return from;
}

}  // namespace

CollectiveWatch::Visit::Visit(CollectiveWatch& watch) : watch_(watch) {
  ++watch_.num_begun_;
  watch_.entered_at_ = Clock::now().time_since_epoch().count();
}

CollectiveWatch::Visit::~Visit() {
  watch_.entered_at_ = 0;
}

CollectiveWatch::CollectiveWatch(MpiComm ranks, Patience patience)
    : ranks_(std::move(ranks)),
      patience_(std::move(patience)) {
  if (!std::isfinite(patience_.timeout_s) || ranks_.size() == 1) return;
  names_ = names_of(ranks_);
  thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

CollectiveWatch::~CollectiveWatch() = default;

void CollectiveWatch::watch(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    answer_calls();
    const Place mine = place();
    if (is_calling_) {
      take_answers();
      // Where the collective has ended meanwhile, all is well.
      if (mine.num_begun != place_when_called_.num_begun || mine.is_in_one == 0) {
        is_calling_ = false;
      } else if (Clock::now() - called_at_ > kAnswerWithin) {
        judge();
      }
    } else if (seconds_in_collective() > patience_.timeout_s) {
      call(mine);
    }
    std::this_thread::sleep_for(kLookEvery);
  }
}

CollectiveWatch::Place CollectiveWatch::place() const {
  return {num_begun_.load(), entered_at_.load() != 0 ? 1 : 0};
}

double CollectiveWatch::seconds_in_collective() const {
  const Clock::rep entered_at = entered_at_.load();
  if (entered_at == 0) return 0;
  return Seconds(Clock::now() - Clock::time_point(Clock::duration(entered_at))).count();
}

void CollectiveWatch::answer_calls() {
  while (const auto from = receive(ranks_, kCall, nullptr, 0)) {
    const Place mine = place();
    send(ranks_, *from, kPlace, &mine, sizeof mine);
  }
}

void CollectiveWatch::call(const Place& mine) {
  take_answers();  // late ones, to an earlier call
  is_calling_ = true;
  place_when_called_ = mine;
  called_at_ = Clock::now();
  answers_.assign(static_cast<std::size_t>(ranks_.size()), {.num_begun = -1});
  answers_[static_cast<std::size_t>(ranks_.rank())] = mine;
  for (int rank = 0; rank < ranks_.size(); ++rank)
    if (rank != ranks_.rank()) send(ranks_, rank, kCall, nullptr, 0);
}

void CollectiveWatch::take_answers() {
  Place theirs;
  while (const auto from = receive(ranks_, kPlace, &theirs, sizeof theirs)) {
    if (is_calling_) answers_[static_cast<std::size_t>(*from)] = theirs;
  }
}

void CollectiveWatch::judge() {
  is_calling_ = false;
  // A rank that is in an earlier collective still waits itself, for one that does not answer.
  const auto ranks_that = [&](const auto& is_guilty) {
    std::vector<std::string> names;
    for (std::size_t rank = 0; rank < answers_.size(); ++rank)
      if (is_guilty(answers_[rank])) names.push_back(names_[rank]);
    return names;
  };
  std::vector<std::string> missing =
      ranks_that([](const Place& theirs) { return theirs.num_begun < 0; });
  const bool answers = missing.empty();
  if (answers) {
    missing = ranks_that([&](const Place& theirs) {
      return theirs.num_begun < place_when_called_.num_begun && theirs.is_in_one == 0;
    });
  }
  // Where all are in a collective they are just getting on.
  if (missing.empty()) return;
  patience_.on_hang(fmt::format(
      "{} waits for partners that have not come to a collective for {:.0f} s; see what they do and "
      "whether their node is well, the same command goes on where this one ended "
      "(parallel.timeout_s sets the patience): {}, which {}",
      names_[static_cast<std::size_t>(ranks_.rank())],
      patience_.timeout_s,
      fmt::join(missing, ", "),
      answers ? "computes" : "does not answer"));
}

}  // namespace limn
