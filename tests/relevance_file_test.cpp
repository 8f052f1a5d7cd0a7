#include "storage/relevance_file.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include "storage/error.h"
#include "tests/child_process.h"
#include "tests/foreign_file.h"
#include "tests/messages.h"
#include "tests/sample_records.h"
#include "tests/temporary_folder.h"

// For builds with the address sanitizer: HDF5 1.10 leaks where it refuses a file.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)

extern "C" const char* __lsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "leak:libhdf5";
}

namespace limn::test {

namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<SampleRecord> random_records(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<SampleRecord> records;
  for (std::size_t i = 0; i < count; ++i)
    records.push_back(random_record(random));
  return records;
}

void write_file(const std::filesystem::path& path, const std::vector<SampleRecord>& records) {
  RelevanceWriter writer(path, example_attributes());
  for (const SampleRecord& record : records)
    writer.append(record);
  writer.close();
}

void read_everything(const std::filesystem::path& path) {
  const RelevanceReader reader(path);
  for (std::int64_t sample = 0; sample < reader.num_samples(); ++sample)
    reader.read(sample);
  reader.sample_ids();
}

// Opens the file by HDF5's own means, to make it what no RelevanceWriter would.
class Tampering {
 public:
  explicit Tampering(const std::filesystem::path& path) {
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    file_ = H5Fopen(path.c_str(), H5F_ACC_RDWR, access);
    H5Pclose(access);
  }

  ~Tampering() { H5Fclose(file_); }

  Tampering(const Tampering&) = delete;
  Tampering& operator=(const Tampering&) = delete;

  void set(const char* path, std::vector<std::int64_t> values) {
    const hid_t dataset = H5Dopen2(file_, path, H5P_DEFAULT);
    const hsize_t rows = values.size();
    H5Dset_extent(dataset, &rows);
    H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(dataset);
  }

  void resize(const char* path, hsize_t rows) {
    const hid_t dataset = H5Dopen2(file_, path, H5P_DEFAULT);
    H5Dset_extent(dataset, &rows);
    H5Dclose(dataset);
  }

  void remove(const char* path) { H5Ldelete(file_, path, H5P_DEFAULT); }

  void rename(const char* from, const char* to) {
    H5Lmove(file_, from, file_, to, H5P_DEFAULT, H5P_DEFAULT);
  }

  void remove_attribute(const char* name) { H5Adelete(file_, name); }

  void set_integer_attribute(const char* name, std::int32_t value) {
    const hid_t attribute = H5Aopen(file_, name, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT32, &value);
    H5Aclose(attribute);
  }

  void set_header(const std::string& text) {
    remove_attribute("header");
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, text.size() + 1);
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t header = H5Acreate2(file_, "header", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(header, type, text.c_str());
    H5Aclose(header);
    H5Sclose(space);
    H5Tclose(type);
  }

  // Where the first chunk of a dataset lies in the file.
  haddr_t first_chunk(const char* path) {
    const hid_t dataset = H5Dopen2(file_, path, H5P_DEFAULT);
    const hsize_t begin = 0;
    unsigned filter_mask = 0;
    haddr_t address = 0;
    hsize_t bytes = 0;
    H5Dget_chunk_info_by_coord(dataset, &begin, &filter_mask, &address, &bytes);
    H5Dclose(dataset);
    return address;
  }

 private:
  hid_t file_;
};

class RelevanceFileTest : public testing::Test {
 protected:
  void expect_holds(const std::vector<SampleRecord>& records) {
    const RelevanceReader reader(path_);
    ASSERT_EQ(reader.num_samples(), static_cast<std::int64_t>(records.size()));
    for (std::size_t i = 0; i < records.size(); ++i) {
      ASSERT_TRUE(same_record(reader.read(static_cast<std::int64_t>(i)), records[i]))
          << "sample " << i;
    }
  }

  std::string refusal() {
    return message_of<DataError>([&] { read_everything(path_); });
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "relevance.h5";
};

TEST_F(RelevanceFileTest, ReadsBackEveryField) {
  write_file(path_, {example_record()});
  expect_holds({example_record()});
}

TEST_F(RelevanceFileTest, ReadsBackSamplesInAnyOrder) {
  const std::vector<SampleRecord> records = random_records(300, 1);
  write_file(path_, records);
  const RelevanceReader reader(path_);
  for (std::size_t i = records.size(); i-- > 0;) {
    EXPECT_TRUE(same_record(reader.read(static_cast<std::int64_t>(i)), records[i])) << i;
  }
}

// Every column is longer than a chunk.
TEST_F(RelevanceFileTest, ReadsBackFilesOfManyChunks) {
  const std::vector<SampleRecord> records = random_records(20000, 2);
  write_file(path_, records);
  expect_holds(records);
  std::vector<std::string> ids;
  for (const SampleRecord& record : records)
    ids.push_back(record.id);
  EXPECT_EQ(RelevanceReader(path_).sample_ids(), ids);
}

TEST_F(RelevanceFileTest, AFileWithoutSamplesIsWhole) {
  write_file(path_, {});
  const RelevanceReader reader(path_);
  EXPECT_EQ(reader.num_samples(), 0);
  EXPECT_THAT(reader.sample_ids(), IsEmpty());
  EXPECT_THAT(reader.part_batch_ids(), IsEmpty());
}

TEST_F(RelevanceFileTest, KeepsMissingValuesAndInfinities) {
  SampleRecord record = example_record();
  record.delta = {kNaN, std::numeric_limits<float>::infinity()};
  record.targets[0].log_prob = kNaN;
  write_file(path_, {record});
  expect_holds({record});
}

TEST_F(RelevanceFileTest, KeepsTextsOfAnyBytesAndLength) {
  SampleRecord record = example_record();
  record.id = std::string("nul\0inside", 10);
  record.message = std::string(200000, 'm');
  write_file(path_, {record, example_record()});
  expect_holds({record, example_record()});
}

TEST_F(RelevanceFileTest, KeepsTheAttributes) {
  RelevanceAttributes attributes = example_attributes();
  attributes.job = std::string(100000, 'j') + "\"\n\xC3\xA9";
  RelevanceWriter(path_, attributes).close();
  EXPECT_EQ(RelevanceReader(path_).attributes(), attributes);
}

// Invariant 8 of docs/relevance-file.md.
TEST_F(RelevanceFileTest, EqualInputGivesEqualBytes) {
  const std::vector<SampleRecord> records = random_records(3000, 3);
  write_file(path_, records);
  write_file(folder_ / "again.h5", records);
  EXPECT_EQ(read_bytes(path_), read_bytes(folder_ / "again.h5"));
}

TEST_F(RelevanceFileTest, AFileOfOneSampleIsSmall) {
  write_file(path_, {example_record()});
  EXPECT_LT(std::filesystem::file_size(path_), 64 * 1024);
}

// Invariant 9 of docs/relevance-file.md.
TEST_F(RelevanceFileTest, IsNoRelevanceFileBeforeClose) {
  { RelevanceWriter(path_, example_attributes()).append(example_record()); }
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5"));
}

TEST_F(RelevanceFileTest, APartSaysWhatItHolds) {
  RelevanceWriter writer(path_, example_attributes());
  for (const SampleRecord& record : random_records(2, 4))
    writer.append(record);
  const std::vector<PartBatch> batches{{7, 71}, {5, 0}, {6, -61}};
  writer.write_part_contents(std::vector<std::int64_t>{3, 8}, batches);
  writer.close();
  const RelevanceReader reader(path_);
  EXPECT_THAT(reader.part_sample_index(), ElementsAre(3, 8));
  EXPECT_THAT(reader.part_batch_ids(), ElementsAre(7, 5, 6));
  EXPECT_EQ(reader.part_batches(), batches);
}

TEST_F(RelevanceFileTest, WriterRefusesWhatBreaksItsPromises) {
  RelevanceWriter writer(path_, example_attributes());
  SampleRecord record = example_record();
  record.delta.pop_back();
  EXPECT_THROW(writer.append(record), InternalError);
  writer.append(example_record());
  writer.append(example_record());
  const std::vector<std::int64_t> one = {1};
  const std::vector<std::int64_t> falling = {1, 1};
  EXPECT_THROW(writer.write_part_contents(one, {}), InternalError);
  EXPECT_THROW(writer.write_part_contents(falling, {}), InternalError);
}

TEST_F(RelevanceFileTest, MayBeReadInAnotherThreadThanItWasOpened) {
  write_file(path_, {example_record()});
  RelevanceReader reader(path_);
  std::thread([&] { EXPECT_TRUE(same_record(reader.read(0), example_record())); }).join();
}

TEST_F(RelevanceFileTest, NamesAFileThatIsMissingOrCannotBeMade) {
  EXPECT_THAT(
      message_of<IoError>([&] { RelevanceReader reader(path_); }),
      HasSubstr("relevance.h5: cannot be opened: No such file"));
  EXPECT_THAT(
      message_of<IoError>(
          [&] { RelevanceWriter writer(folder_ / "no" / "relevance.h5", example_attributes()); }),
      HasSubstr("relevance.h5: cannot be opened: No such file"));
}

TEST_F(RelevanceFileTest, RefusesWhatIsNoHdf5File) {
  write_bytes(path_, "a text");
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5: the file is damaged"));
}

TEST_F(RelevanceFileTest, RefusesAnotherVersionWithBothVersionsAndTheCure) {
  write_file(path_, {});
  Tampering(path_).set_header(R"({"format":"limn.relevance","format_version":2})");
  EXPECT_THAT(
      refusal(),
      AllOf(
          HasSubstr("relevance.h5 (header): format_version must be 1"),
          HasSubstr("use the release of limn that wrote the file"),
          testing::EndsWith(": 2")));
}

TEST_F(RelevanceFileTest, RefusesHeadersThatAreNotItsOwn) {
  write_file(path_, {});
  for (const char* header :
       {"",
        "{",
        "[]",
        "{}",
        R"({"format":"other"})",
        R"({"format":"limn.relevance","format_version":"1"})",
        R"({"format":"limn.relevance","format_version":1,"complete":3})"}) {
    Tampering(path_).set_header(header);
    EXPECT_THAT(refusal(), HasSubstr("relevance.h5 (header)")) << header;
  }
}

TEST_F(RelevanceFileTest, ADamagedChunkNamesFileAndDataset) {
  write_file(path_, random_records(50, 5));
  const haddr_t chunk = Tampering(path_).first_chunk("relevance/delta");
  std::string bytes = read_bytes(path_);
  bytes[chunk + 10] ^= 1;
  write_bytes(path_, bytes);
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5: relevance/delta is damaged: "));
  EXPECT_THAT(refusal(), HasSubstr("Fletcher32"));
}

// Invariant 1 of docs/relevance-file.md.
TEST_F(RelevanceFileTest, RefusesOffsetsThatDoNotAscendWithinTheirColumn) {
  const std::int64_t far = std::numeric_limits<std::int64_t>::max();
  for (const char* column :
       {"samples/id_offset",
        "samples/message_offset",
        "text/offset",
        "tokens/offset",
        "units/offset",
        "targets/offset",
        "relevance/offset",
        "evidence/offset"}) {
    for (const auto& [begin, end] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {0, far}, {0, 1000}, {-1, 1}, {-far - 1, far}, {1, 0}}) {
      write_file(path_, {example_record()});
      Tampering(path_).set(column, {begin, end});
      EXPECT_THAT(refusal(), HasSubstr(std::string(column) + " must ascend from 0 to"));
    }
  }
  write_file(path_, {example_record()});
  Tampering(path_).set("units/token_offset", {0, 5, 4});
  EXPECT_THAT(refusal(), HasSubstr("units/token_offset must ascend from 0 to 4"));
}

// Invariants 2 and 3 of docs/relevance-file.md.
TEST_F(RelevanceFileTest, RefusesColumnsThatDoNotFitEachOther) {
  write_file(path_, {example_record()});
  Tampering(path_).set("tokens/char_end", {1, 2, 3});
  EXPECT_THAT(refusal(), HasSubstr("tokens/char_end must have as many rows as tokens/id: 3 and 6"));

  write_file(path_, {example_record()});
  Tampering(path_).set("units/token_offset", {0, 4});
  EXPECT_THAT(
      refusal(),
      HasSubstr("units/token_offset must have one row more than units/char_start: 2 and 2"));

  write_file(path_, {example_record()});
  Tampering(path_).set("relevance/offset", {0, 1});
  EXPECT_THAT(refusal(), HasSubstr("relevance/delta must hold a value for each unit and target"));

  write_file(path_, {example_record()});
  Tampering(path_).remove("targets/token");
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5: dataset is missing: targets/token"));
}

// Invariant 4 of docs/relevance-file.md.
TEST_F(RelevanceFileTest, RefusesPositionsOutsideTheSequence) {
  for (const std::int64_t position : {-1, 6}) {
    write_file(path_, {example_record()});
    Tampering(path_).set("units/token", {1, 2, 3, position});
    EXPECT_THAT(refusal(), HasSubstr("units/token must be positions in the sample's tokens"));
    write_file(path_, {example_record()});
    Tampering(path_).set("targets/position", {position});
    EXPECT_THAT(refusal(), HasSubstr("targets/position must be a position"));
  }
}

// Invariant 5 of docs/relevance-file.md.
TEST_F(RelevanceFileTest, RefusesAStatusThatIsNone) {
  write_file(path_, {example_record()});
  Tampering(path_).set("samples/status", {3});
  EXPECT_THAT(refusal(), HasSubstr("samples/status must be 0, 1 or 2: 3"));
}

// Rows that were never written take no room in the file, but would in memory.
TEST_F(RelevanceFileTest, RefusesMoreRowsThanTheFileHolds) {
  write_file(path_, {example_record()});
  {
    Tampering file(path_);
    file.resize("text/utf8", hsize_t{1} << 45);
    file.set("text/offset", {0, std::int64_t{1} << 45});
  }
  EXPECT_THAT(refusal(), HasSubstr("text/utf8 is shorter than it says"));
}

TEST_F(RelevanceFileTest, ReadsFilesOfOtherPrograms) {
  write_foreign_file(path_);
  expect_holds(foreign_records());
  const RelevanceReader reader(path_);
  EXPECT_THAT(reader.sample_ids(), ElementsAre("caf\xC3\xA9", "two"));
  EXPECT_EQ(reader.attributes(), example_attributes());
  EXPECT_THAT(reader.part_sample_index(), IsEmpty());
}

TEST_F(RelevanceFileTest, ReadsNumbersOfOtherWidthsAndByteOrders) {
  write_foreign_file(path_, {.is_wide = true});
  expect_holds(foreign_records());
  EXPECT_EQ(RelevanceReader(path_).attributes(), example_attributes());
}

TEST_F(RelevanceFileTest, ReadsTextsOfFixedLength) {
  write_foreign_file(path_, {.has_fixed_texts = true});
  expect_holds(foreign_records());
  EXPECT_EQ(RelevanceReader(path_).attributes(), example_attributes());
}

TEST_F(RelevanceFileTest, ReadsFilesWithoutEvidence) {
  write_foreign_file(path_, {.has_evidence = false});
  expect_holds(foreign_records({.has_evidence = false}));
}

// Its own copy of the texts is the one under checksums.
TEST_F(RelevanceFileTest, ReadsItsOwnCopyOfTheTextsWhereThereIsOne) {
  write_file(path_, {example_record()});
  {
    Tampering file(path_);
    file.remove("samples/id");
    file.remove("samples/message");
    for (const char* name : {"format", "format_version", "complete", "job"})
      file.remove_attribute(name);
  }
  expect_holds({example_record()});
  EXPECT_EQ(RelevanceReader(path_).attributes(), example_attributes());
}

TEST_F(RelevanceFileTest, NamesTheDatasetThatAnotherProgramLeftOut) {
  for (const char* dataset :
       {"samples/id",       "samples/status",     "samples/message",     "text/offset",
        "text/utf8",        "tokens/offset",      "tokens/id",           "tokens/char_start",
        "tokens/char_end",  "units/offset",       "units/char_start",    "units/char_end",
        "units/box",        "units/token_offset", "units/token",         "targets/offset",
        "targets/position", "targets/token",      "targets/log_prob",    "relevance/offset",
        "relevance/delta",  "evidence/offset",    "evidence/char_start", "evidence/char_end",
        "evidence/box"}) {
    write_foreign_file(path_);
    Tampering(path_).remove(dataset);
    EXPECT_THAT(
        refusal(), testing::EndsWith("relevance.h5: dataset is missing: " + std::string(dataset)));
  }
  write_foreign_file(path_);
  Tampering(path_).remove("units");
  EXPECT_THAT(refusal(), HasSubstr("dataset is missing: units/offset"));
}

TEST_F(RelevanceFileTest, NamesTheAttributeThatAnotherProgramLeftOut) {
  for (const char* attribute :
       {"format_version",
        "complete",
        "job",
        "model",
        "software_version",
        "tensor_parallel",
        "dtype"}) {
    write_foreign_file(path_);
    Tampering(path_).remove_attribute(attribute);
    EXPECT_THAT(
        refusal(),
        testing::EndsWith("relevance.h5: attribute is missing: " + std::string(attribute)));
  }
  write_foreign_file(path_);
  Tampering(path_).remove_attribute("format");
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5: no relevance file"));
}

TEST_F(RelevanceFileTest, RefusesAnotherVersionOfAnotherProgram) {
  write_foreign_file(path_);
  Tampering(path_).set_integer_attribute("format_version", 2);
  EXPECT_THAT(
      refusal(),
      AllOf(HasSubstr("relevance.h5: format_version must be 1"), testing::EndsWith(": 2")));
}

TEST_F(RelevanceFileTest, NamesTheDatasetThatHoldsAnotherKindOfValues) {
  write_foreign_file(path_);
  {
    Tampering file(path_);
    file.rename("samples/id", "unused");
    file.rename("samples/status", "samples/id");
    file.rename("unused", "samples/status");
  }
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5: must hold numbers: samples/status"));

  write_file(path_, {example_record()});
  {
    Tampering file(path_);
    for (const char* path : {"samples/id", "samples/id_offset", "samples/id_utf8"})
      file.remove(path);
    file.rename("units/unit", "samples/id");
  }
  EXPECT_THAT(refusal(), HasSubstr("relevance.h5: must hold one text in a row: samples/id"));
}

TEST_F(RelevanceFileTest, DamageIsReadOrRefusedNeverACrash) {
  RelevanceWriter writer(path_, example_attributes());
  for (const SampleRecord& record : random_records(40, 6))
    writer.append(record);
  std::vector<std::int64_t> samples;
  std::vector<PartBatch> batches;
  for (std::int64_t i = 0; i < 40; ++i) {
    samples.push_back(i);
    batches.push_back({.id = i, .contents = 3 * i});
  }
  writer.write_part_contents(samples, batches);
  writer.close();
  const std::string whole = read_bytes(path_);
  std::mt19937_64 random(7);
  int refused = 0;
  for (int round = 0; round < 400; ++round) {
    write_bytes(path_, damaged(whole, random));
    try {
      read_everything(path_);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

// A process that may write 100 KB sees what a full disk looks like, and must then end properly,
// which HDF5's own exit handler would prevent.
TEST_F(RelevanceFileTest, AFullDiskIsAnIoErrorThatNamesTheFile) {
  const pid_t child = start_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {100 * 1000, 100 * 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(path_, random_records(20000, 8));
    } catch (const IoError& error) {
      return std::string(error.what()).starts_with(path_.string()) ? 0 : 1;
    }
    return 2;
  });
  EXPECT_EQ(exit_code_of(child), 0);
  EXPECT_THROW(read_everything(path_), Error);
}

}  // namespace

}  // namespace limn::test
