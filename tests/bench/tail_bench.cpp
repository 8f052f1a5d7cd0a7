// How long many groups wait at the end of a run, and how long they would if it were larger.
//
//   tail_bench SAMPLES DATASET PER_ROW PER_KEY
//
// Plans virtual samples (tests/virtual_run.h) as a run does, with 16,384 rows a batch and a model
// that costs PER_ROW and PER_KEY operations (coordinator/sweep_cost.h), and deals the batches out
// to 1 to 1,024 groups in virtual time. A batch takes its cost and what 128 rows cost beside.
// DATASET:
//   mixed, mixed_sentences, mixed_tokens   50 to 2,000 tokens, median 300
//   squad_sentences, squad_tokens          a paragraph and a question: median 170
// mixed has sentence units in every other sample, token units in the others. One JSON line:
//   batches, rows, keys      of all sweeps
//   base_rows, target_rows   of these rows, those of bases, and those at which targets are read
//   cut_percent              what cutting samples adds to the cost
//   idle_percent             [1, 2, 4 ... 1,024 groups]: of their time until the last one ends

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/virtual_run.h"

namespace limn::test {

namespace {

constexpr double kRowsOfOverhead = 128;
constexpr int kMostGroups = 1024;

VirtualDataset dataset_of(std::string_view name, std::int64_t num_samples) {
  constexpr VirtualLengths squad{.median = 170, .sigma = 0.4};
  if (name == "mixed") return {num_samples, VirtualUnits::Mixed, {}};
  if (name == "mixed_sentences") return {num_samples, VirtualUnits::Sentences, {}};
  if (name == "mixed_tokens") return {num_samples, VirtualUnits::Tokens, {}};
  if (name == "squad_sentences") return {num_samples, VirtualUnits::Sentences, squad};
  if (name == "squad_tokens") return {num_samples, VirtualUnits::Tokens, squad};
  throw std::invalid_argument("DATASET: mixed, mixed_sentences, mixed_tokens, squad_...");
}

void run(std::string_view name, std::int64_t num_samples, const SweepCost& cost) {
  SweepWork work;
  std::int64_t base_rows = 0;
  std::int64_t target_rows = 0;
  std::vector<double> seconds;
  const auto take = [&](const PlannedBatch& planned) {
    work += planned.work;
    for (const BatchPiece& piece : planned.batch.pieces) {
      base_rows += piece.fed_length();
      target_rows += piece.num_targets() * (1 + std::ssize(piece.perturbations));
    }
    seconds.push_back(cost.of(planned.work) + kRowsOfOverhead * cost.per_row);
  };
  const SweepWork uncut =
      plan_one_by_one(dataset_of(name, num_samples), {.batch_tokens = 16384, .cost = cost}, take);
  std::vector<double> idle_percent;
  for (int num_groups = 1; num_groups <= kMostGroups; num_groups *= 2)
    idle_percent.push_back(100 * idle_share(seconds, num_groups));
  fmt::print(
      "{{\"dataset\": \"{}\", \"samples\": {}, \"batches\": {}, \"rows\": {}, \"keys\": {}, "
      "\"base_rows\": {}, \"target_rows\": {}, \"cut_percent\": {:.2f}, "
      "\"idle_percent\": [{:.3f}]}}\n",
      name,
      num_samples,
      seconds.size(),
      work.rows,
      work.keys,
      base_rows,
      target_rows,
      100 * (cost.of(work) / cost.of(uncut) - 1),
      fmt::join(idle_percent, ", "));
}

}  // namespace

}  // namespace limn::test

int main(int argc, char** argv) {
  if (argc != 5) throw std::invalid_argument("SAMPLES DATASET PER_ROW PER_KEY");
  limn::test::run(argv[2], std::stoll(argv[1]), {std::stod(argv[3]), std::stod(argv[4])});
}
