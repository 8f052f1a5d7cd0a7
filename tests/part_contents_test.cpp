#include "storage/part_contents.h"

#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include "storage/error.h"
#include "storage/relevance_file.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// Of the worked example the second unit alone is measured; another sample is measured wholly, two
// failed and were skipped.
std::vector<SampleRecord> part_records() {
  SampleRecord half = example_record();
  half.delta[0] = kNaN;
  SampleRecord failed = example_record();
  failed.id = "failed";
  failed.status = SampleStatus::Failed;
  failed.message = "not finite";
  failed.delta = {kNaN, kNaN};
  SampleRecord skipped;
  skipped.id = "caf\xC3\xA9 skipped";
  skipped.status = SampleStatus::Skipped;
  skipped.message = "too long";
  return {half, failed, example_record(), skipped};
}

class PartContentsTest : public testing::Test {
 protected:
  PartContentsTest() {
    RelevanceAttributes attributes = example_attributes();
    attributes.complete = false;
    RelevanceWriter writer(path_, attributes);
    for (const SampleRecord& record : part_records())
      writer.append(record);
    writer.write_part_contents(
        std::vector<std::int64_t>{3, 8, 9, 20}, std::vector<PartBatch>{{.id = 7}, {.id = 5}});
    writer.close();
  }

  void expect_all() const {
    const PartContents contents = read_part_contents(path_);
    EXPECT_FALSE(contents.is_complete);
    EXPECT_THAT(contents.batch_ids, ElementsAre(7, 5));
    ASSERT_THAT(contents.samples, SizeIs(4));
    const PartSample& half = contents.samples[0];
    EXPECT_EQ(half.index, 3);
    EXPECT_EQ(half.status, SampleStatus::Ok);
    EXPECT_EQ(half.num_units, 2);
    EXPECT_EQ(half.num_measured_units, 1);
    EXPECT_THAT(half.id, IsEmpty());
    const PartSample& failed = contents.samples[1];
    EXPECT_EQ(failed.index, 8);
    EXPECT_EQ(failed.status, SampleStatus::Failed);
    EXPECT_EQ(failed.id, "failed");
    EXPECT_EQ(failed.message, "not finite");
    EXPECT_EQ(failed.num_measured_units, 0);
    EXPECT_EQ(contents.samples[2].num_measured_units, 2);
    const PartSample& skipped = contents.samples[3];
    EXPECT_EQ(skipped.index, 20);
    EXPECT_EQ(skipped.status, SampleStatus::Skipped);
    EXPECT_EQ(skipped.id, "caf\xC3\xA9 skipped");
    EXPECT_EQ(skipped.message, "too long");
    EXPECT_EQ(skipped.num_units, 0);
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "part-000000.h5";
};

}  // namespace

TEST_F(PartContentsTest, SaysWhatIsInAPart) {
  expect_all();
}

TEST_F(PartContentsTest, SaysTheSameOfAPartThatDoesNotCountItsUnits) {
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  ASSERT_GE(H5Ldelete(file, "part/measured_units", H5P_DEFAULT), 0);
  ASSERT_GE(H5Fclose(file), 0);
  expect_all();
}

TEST_F(PartContentsTest, SaysWhatIsInAResult) {
  RelevanceWriter writer(path_, example_attributes());
  for (const SampleRecord& record : part_records())
    writer.append(record);
  writer.close();
  const PartContents contents = read_part_contents(path_);
  EXPECT_TRUE(contents.is_complete);
  EXPECT_THAT(contents.batch_ids, IsEmpty());
  ASSERT_THAT(contents.samples, SizeIs(4));
  EXPECT_EQ(contents.samples[3].index, 3);
  EXPECT_EQ(contents.samples[3].message, "too long");
  EXPECT_EQ(contents.samples[2].num_measured_units, 2);
}

TEST_F(PartContentsTest, RefusesWhatIsNoPart) {
  EXPECT_THROW(read_part_contents(folder_ / "part-000001.h5"), IoError);
  write_bytes(folder_ / "part-000001.h5", "not HDF5");
  EXPECT_THROW(read_part_contents(folder_ / "part-000001.h5"), DataError);
  // A writer that was killed leaves no attributes.
  { RelevanceWriter(folder_ / "part-000002.h5", {}).append(example_record()); }
  EXPECT_THROW(read_part_contents(folder_ / "part-000002.h5"), DataError);
}

}  // namespace limn::test
