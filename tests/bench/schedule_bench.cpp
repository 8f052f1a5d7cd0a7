// How long groups wait at the end of a run, in virtual time.
//
//   schedule_bench [samples]     1,000 unless told
//
// Plans mixed samples (tests/virtual_run.h) with the cost of SmolLM2-135M, whose attention weighs
// more than a large model's, and lets 1 to 16 groups compute the batches; each takes its cost and
// what 128 rows cost beside. One JSON line for each kind of units, plan and number of groups:
//   plan           "bounded": the plan of a run; "rows_alone": batches as far from the end
//   batches        of the plan
//   least_cost, most_cost  of a batch, in rows without keys
//   cut_percent    what cutting samples adds to the cost
//   idle_percent   of the groups' time until the last one ends
//   total_percent  by how much the groups' time is longer than the uncut cost

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "tests/virtual_run.h"

namespace limn::test {

namespace {

constexpr double kRowsOfOverhead = 128;

// SmolLM2-135M, as tests/decoder_cost_test.cpp counts it, for each row's operations: 1.
const PlanOptions kOptions{.cost = {.per_row = 1, .per_key = 69120.0 / 212336640.0}};

struct Bench {
  std::string_view units;
  std::string_view plan;
  double uncut_cost = 0;
};

// In rows without keys; proves on the way that the planner counted right.
std::vector<double> costs_of(const std::vector<PlannedBatch>& batches) {
  std::vector<double> costs;
  for (const PlannedBatch& planned : batches) {
    if (work_of(planned.batch) != planned.work) throw std::logic_error("the plan counts wrongly");
    costs.push_back(kOptions.cost.of(planned.work));
  }
  return costs;
}

void report(const Bench& bench, const std::vector<PlannedBatch>& batches) {
  const std::vector<double> costs = costs_of(batches);
  double total = 0;
  std::vector<double> seconds;
  for (const double cost : costs) {
    total += cost;
    seconds.push_back(cost + kRowsOfOverhead);
  }
  const double busy = total + kRowsOfOverhead * static_cast<double>(costs.size());
  for (const int num_groups : {1, 2, 4, 8, 16}) {
    const double idle = idle_share(seconds, num_groups);
    fmt::print(
        "{{\"units\": \"{}\", \"plan\": \"{}\", \"groups\": {}, \"batches\": {}, "
        "\"least_cost\": {:.0f}, \"most_cost\": {:.0f}, \"cut_percent\": {:.2f}, "
        "\"idle_percent\": {:.2f}, \"total_percent\": {:.2f}}}\n",
        bench.units,
        bench.plan,
        num_groups,
        costs.size(),
        std::ranges::min(costs),
        std::ranges::max(costs),
        100 * (total / bench.uncut_cost - 1),
        100 * idle,
        100 * (busy / (1 - idle) / bench.uncut_cost - 1));
  }
}

void run(std::int64_t num_samples, VirtualUnits units, std::string_view name) {
  const std::vector<Sample> samples = virtual_samples(num_samples, units);
  const double uncut_cost = kOptions.cost.of(uncut_work(samples));
  report({name, "bounded", uncut_cost}, plan(samples, kOptions));
  report({name, "rows_alone", uncut_cost}, plan_far_from_the_end(samples, kOptions));
}

}  // namespace

}  // namespace limn::test

int main(int argc, char** argv) {
  using limn::test::VirtualUnits;
  const std::int64_t num_samples = argc > 1 ? std::stoll(argv[1]) : 1000;
  limn::test::run(num_samples, VirtualUnits::Sentences, "sentences");
  limn::test::run(num_samples, VirtualUnits::Tokens, "tokens");
  limn::test::run(num_samples, VirtualUnits::Mixed, "mixed");
}
