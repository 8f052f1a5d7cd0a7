// Writes a relevance file, or with a third argument a part, of seeded random samples for
// tests/python/open_relevance_file.py: write_relevance_file OUT NUM_SAMPLES [part]
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "storage/relevance_file.h"
#include "tests/sample_records.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: write_relevance_file OUT NUM_SAMPLES [part]\n");
    return 64;
  }
  std::mt19937_64 random(1);
  limn::RelevanceWriter writer(argv[1], limn::test::example_attributes());
  std::vector<std::int64_t> sample_index;
  for (std::int64_t sample = 0; sample < std::stoll(argv[2]); ++sample) {
    writer.append(sample == 0 ? limn::test::example_record() : limn::test::random_record(random));
    sample_index.push_back(3 * sample);
  }
  const std::vector<limn::PartBatch> batches{{7, 70}, {8, 80}};
  if (argc > 3) writer.write_part_contents(sample_index, batches);
  writer.close();
  return 0;
}
