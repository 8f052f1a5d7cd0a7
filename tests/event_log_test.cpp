#include "storage/event_log.h"

#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/error.h"
#include "tests/child_process.h"
#include "tests/temporary_folder.h"

namespace limn::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class EventLogTest : public testing::Test {
 protected:
  std::vector<std::string> events() const {
    std::vector<std::string> names;
    read_events(path_, [&](const json& event) { names.push_back(event["event"]); });
    return names;
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = event_log_path(folder_.path());
};

}  // namespace

TEST_F(EventLogTest, WritesTimeEventAndFieldsInTheirOrder) {
  const auto before =
      std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  EventLog(path_).append("sealed", {{"part", "part-000003.h5"}, {"batches", 4}});
  const std::string line = read_bytes(path_);
  EXPECT_THAT(
      line,
      testing::MatchesRegex(
          R"(\{"time":"[^"]*","event":"sealed","part":"part-000003.h5","batches":4\}
)"));
  const auto time = time_of_utc_text(json::parse(line)["time"]);
  ASSERT_TRUE(time);
  EXPECT_GE(*time, before);
  EXPECT_LE(*time, std::chrono::system_clock::now());
}

TEST_F(EventLogTest, LaterStartsAppend) {
  EventLog(path_).append("start");
  EventLog(path_).append("start");
  EXPECT_THAT(events(), ElementsAre("start", "start"));
}

TEST_F(EventLogTest, MendsTextThatIsNotUtf8) {
  EventLog(path_).append("error", {{"message", "caf\xe9\n\"quoted\""}});
  std::string message;
  read_events(path_, [&](const json& event) { message = event["message"]; });
  EXPECT_EQ(message, "caf\xef\xbf\xbd\n\"quoted\"");
}

TEST_F(EventLogTest, AFileThatIsNotThereHasNoEvents) {
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(EventLogTest, ALineThatWasCutTakesNoOtherWithIt) {
  write_bytes(
      path_,
      "{\"event\":\"a\"}\n\n[1]\nnonsense\n{\"event\":7}\n{\"event\":\"b\"}\n{\"event\":\"cu");
  EXPECT_THAT(events(), ElementsAre("a", "b"));
  EventLog(path_).append("c");
  EXPECT_THAT(events(), ElementsAre("a", "b", "c"));
}

TEST_F(EventLogTest, ProcessesDoNotMixTheirLines) {
  constexpr int kProcesses = 3;
  constexpr int kThreads = 2;
  constexpr int kEvents = 200;
  std::vector<pid_t> children;
  for (int process = 0; process < kProcesses; ++process) {
    children.push_back(start_child([&] {
      EventLog log(path_);
      const auto write = [&] {
        for (int i = 0; i < kEvents; ++i)
          log.append("long", {{"text", std::string(5000, 'x')}});
      };
      std::thread other(write);
      write();
      other.join();
      return 0;
    }));
  }
  for (const pid_t child : children)
    EXPECT_EQ(exit_code_of(child), 0);
  EXPECT_THAT(events(), SizeIs(kProcesses * kThreads * kEvents));
}

TEST_F(EventLogTest, AFullDiskFailsNothingAndCostsOneLine) {
  const auto fill_the_disk = [&] {
    // To a process with this limit the disk is full after 300 bytes.
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 300, .rlim_max = RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    EventLog log(path_);
    for (int i = 0; i < 10; ++i)
      log.append("event", {{"number", i}});
    const rlimit room{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &room) != 0) return 2;
    log.append("last");
    return 0;
  };
  ASSERT_EQ(exit_code_of(start_child(fill_the_disk)), 0);
  EXPECT_THAT(events(), ElementsAre("event", "event", "event", "event", "last"));
}

TEST_F(EventLogTest, AFolderThatIsMissingFailsNothing) {
  EventLog log(folder_ / "missing/events.jsonl");
  log.append("start");
  log.append("start");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "missing"));
}

TEST_F(EventLogTest, AFileThatCannotBeReadIsAnError) {
  std::filesystem::create_directory(path_);
  EXPECT_THROW(events(), IoError);
}

TEST(UtcTextTest, IsIso8601WithMilliseconds) {
  const SystemTime time{std::chrono::milliseconds(1'772'366'400'007)};
  EXPECT_EQ(utc_text(time), "2026-03-01T12:00:00.007Z");
  EXPECT_EQ(time_of_utc_text("2026-03-01T12:00:00.007Z"), time);
  for (const char* text :
       {"",
        "2026-03-01",
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00.007",
        "2026-03-01T12:00:00.0x7Z",
        "2026-03-01T12:00:00.0077Z"}) {
    EXPECT_FALSE(time_of_utc_text(text)) << text;
  }
}

}  // namespace limn::test
