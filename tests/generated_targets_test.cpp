#include "storage/generated_targets.h"

#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const GeneratedTargetLine kParis{0, {3681, 13}, " Paris."};
const GeneratedTargetLine kLyon{2, {17}, " Ly\u00f6n \"\n"};
const GeneratedTargetLine kNice{3, {}, ""};

class GeneratedTargetsTest : public testing::Test {
 protected:
  std::vector<GeneratedTargetLine> read() const {
    GeneratedTargetsReader reader(path);
    std::vector<GeneratedTargetLine> lines;
    while (const auto line = reader.next())
      lines.push_back(*line);
    return lines;
  }

  // What a reader has read of the file when it has taken so many lines.
  std::int64_t end_of(int num_lines) const {
    GeneratedTargetsReader reader(path);
    for (int i = 0; i < num_lines; ++i)
      EXPECT_TRUE(reader.next());
    return reader.offset();
  }

  TemporaryFolder folder;
  const std::filesystem::path path = folder / "targets.jsonl";
};

}  // namespace

TEST_F(GeneratedTargetsTest, ReadsWhatWasAppended) {
  GeneratedTargetsWriter writer(path, 0);
  writer.append(std::vector{kParis});
  EXPECT_THAT(read(), ElementsAre(kParis));
  writer.append(std::vector{kLyon, kNice});
  EXPECT_THAT(read(), ElementsAre(kParis, kLyon, kNice));
}

TEST_F(GeneratedTargetsTest, TakesAMissingFileForAnEmptyOne) {
  EXPECT_THAT(read(), IsEmpty());
}

TEST_F(GeneratedTargetsTest, PassesOverALineThatHasNoEnd) {
  GeneratedTargetsWriter(path, 0).append(std::vector{kParis, kLyon});
  for (const std::int64_t cut : {1, 10}) {
    std::filesystem::resize_file(path, static_cast<std::uintmax_t>(end_of(2) - cut));
    EXPECT_THAT(read(), ElementsAre(kParis));
    GeneratedTargetsWriter(path, end_of(1)).append(std::vector{kLyon});
    EXPECT_THAT(read(), ElementsAre(kParis, kLyon));
  }
}

TEST_F(GeneratedTargetsTest, DropsWhatIsBehindTheOffset) {
  GeneratedTargetsWriter(path, 0).append(std::vector{kParis, kLyon, kNice});
  GeneratedTargetsWriter(path, end_of(1)).append(std::vector{kNice});
  EXPECT_THAT(read(), ElementsAre(kParis, kNice));
}

TEST_F(GeneratedTargetsTest, WritesPartsOfCharactersAsReplacements) {
  GeneratedTargetsWriter(path, 0).append(std::vector<GeneratedTargetLine>{{0, {9}, "\xe4"}});
  EXPECT_EQ(read().at(0).target, "\ufffd");
}

TEST_F(GeneratedTargetsTest, NamesADamagedLine) {
  for (const char* const damaged :
       {"nothing\n", "{\"record\": 1}\n", "[]\n", "{\"record\": 0, \"target_ids\": 5}\n"}) {
    GeneratedTargetsWriter(path, 0).append(std::vector{kParis});
    std::ofstream(path, std::ios::app) << damaged;
    EXPECT_THAT(
        message_of<DataError>([&] { read(); }),
        AllOf(HasSubstr("targets.jsonl:2: is damaged"), HasSubstr("or remove it")));
  }
}

TEST_F(GeneratedTargetsTest, NoticesEveryBitThatFlips) {
  GeneratedTargetsWriter(path, 0).append(std::vector{kParis, kLyon, kNice});
  const std::string whole = read_bytes(path);
  const auto begin = static_cast<std::size_t>(end_of(1));
  const auto end = static_cast<std::size_t>(end_of(2)) - 1;
  for (std::size_t i = begin; i < end; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      write_bytes(path, bytes);
      // A white space more or less, or one of another kind, says the same.
      try {
        EXPECT_THAT(read(), ElementsAre(kParis, kLyon, kNice)) << i << " " << bit;
      } catch (const DataError&) {
      }
    }
  }
}

TEST_F(GeneratedTargetsTest, ReadsLinesOfEarlierReleases) {
  write_bytes(path, "{\"record\":0,\"target_ids\":[3681,13],\"target\":\" Paris.\"}\n");
  EXPECT_THAT(read(), ElementsAre(kParis));
}

}  // namespace limn::test
