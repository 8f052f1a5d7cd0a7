#include "storage/run_owner.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/error.h"
#include "tests/child_process.h"
#include "tests/messages.h"
#include "tests/temporary_folder.h"

namespace limn::test {

namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

// Quick, so that a test need not wait long.
OwnershipOptions quick(OwnerLock lock, const std::string& machine = "") {
  return {
      .patience = 300ms, .heartbeat = 50ms, .silence = 1000ms, .lock = lock, .machine = machine};
}

// With flock, and without.
class RunOwnerTest : public testing::TestWithParam<OwnerLock> {
 protected:
  OwnershipOptions options(const std::string& machine = "") const {
    return quick(GetParam(), machine);
  }

  // A child that owns the run, says so, and does `then`.
  pid_t start_owner(
      const OwnershipOptions& options, const std::function<int(RunOwnership&)>& then) {
    const pid_t child = start_child([&] {
      RunOwnership ownership = RunOwnership::acquire(run_, options);
      write_bytes(run_ / fmt::format("owned-{}", ::getpid()), "");
      return then(ownership);
    });
    while (!std::filesystem::exists(run_ / fmt::format("owned-{}", child)))
      std::this_thread::sleep_for(5ms);
    return child;
  }

  pid_t start_sleeper(const OwnershipOptions& options) {
    return start_owner(options, [](RunOwnership&) {
      std::this_thread::sleep_for(60s);
      return 0;
    });
  }

  void expect_refused(const OwnershipOptions& options, pid_t owner) {
    EXPECT_THAT(
        message_of<IoError>([&] { RunOwnership::acquire(run_, options); }),
        AllOf(
            HasSubstr((run_ / "lock").string() + ": another run is at work here"),
            HasSubstr(fmt::format("process {} on {}", owner, host_))));
  }

  static std::string host_name() {
    std::array<char, 256> host = {};
    ::gethostname(host.data(), host.size() - 1);
    return host.data();
  }

  TemporaryFolder folder_;
  std::filesystem::path run_ = folder_.path();
  std::string host_ = host_name();
};

INSTANTIATE_TEST_SUITE_P(
    Locks, RunOwnerTest, testing::Values(OwnerLock::Flock, OwnerLock::None), [](const auto& lock) {
      return lock.param == OwnerLock::Flock ? "Flock" : "NoFlock";
    });

TEST_P(RunOwnerTest, NobodyOwnsWhatNobodyStarted) {
  EXPECT_FALSE(live_owner(run_, options()));
  EXPECT_FALSE(last_owner(run_));
  EXPECT_FALSE(live_owner(run_ / "nowhere", options()));
  EXPECT_TRUE(std::filesystem::is_empty(run_));
}

TEST_P(RunOwnerTest, SaysWhoOwnsTheRunAndWhoDidLast) {
  RunOwner owner;
  {
    const RunOwnership ownership = RunOwnership::acquire(run_, options());
    owner = ownership.owner();
    EXPECT_EQ(owner.host, host_);
    EXPECT_EQ(owner.process, ::getpid());
    EXPECT_EQ(owner.epoch, 1);
    EXPECT_THAT(owner.started, MatchesRegex("20..-..-..T..:..:..Z"));
    EXPECT_EQ(live_owner(run_, options()), owner);
    EXPECT_NO_THROW(ownership.check_still_owner());
  }
  EXPECT_FALSE(live_owner(run_, options()));
  EXPECT_EQ(last_owner(run_), owner);
  const nlohmann::json line = nlohmann::json::parse(read_bytes(run_ / "lock"));
  EXPECT_EQ(line["host"], host_);
  EXPECT_EQ(line["process"], ::getpid());
  EXPECT_EQ(line["epoch"], 1);
  EXPECT_EQ(line["started"], owner.started);
}

TEST_P(RunOwnerTest, NamesTheSlurmJob) {
  ::setenv("SLURM_JOB_ID", "4711", 1);
  EXPECT_EQ(RunOwnership::acquire(run_, options()).owner().job_id, "4711");
  ::setenv("SLURM_ARRAY_JOB_ID", "815", 1);
  ::setenv("SLURM_ARRAY_TASK_ID", "3", 1);
  const RunOwner owner = RunOwnership::acquire(run_, options()).owner();
  for (const char* name : {"SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"})
    ::unsetenv(name);
  EXPECT_EQ(owner.job_id, "815_3");
  EXPECT_THAT(describe(owner), HasSubstr(", Slurm job 815_3, since 20"));
}

TEST_P(RunOwnerTest, CountsTheStartsAndKeepsTheLastClaimAlone) {
  for (std::int64_t start = 1; start <= 3; ++start)
    EXPECT_EQ(RunOwnership::acquire(run_, options()).epoch(), start);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run_ / "epochs"))
    names.push_back(entry.path().filename().string());
  EXPECT_EQ(names, std::vector<std::string>{"000003"});
}

TEST_P(RunOwnerTest, RefusesASecondOwnerNamingTheFirst) {
  const pid_t owner = start_sleeper(options());
  expect_refused(options(), owner);
  // From another host, too.
  if (GetParam() == OwnerLock::None) expect_refused(options("another host"), owner);
  EXPECT_EQ(live_owner(run_, options())->process, owner);
  EXPECT_EQ(last_owner(run_)->process, owner);
  ::kill(owner, SIGKILL);
  EXPECT_EQ(exit_code_of(owner), -1);
}

TEST_P(RunOwnerTest, WaitsForAnOwnerThatIsAboutToEnd) {
  const pid_t owner = start_owner(options(), [](RunOwnership&) {
    std::this_thread::sleep_for(200ms);
    return 0;
  });
  OwnershipOptions patient = options();
  patient.patience = 10s;
  EXPECT_EQ(RunOwnership::acquire(run_, patient).epoch(), 2);
  EXPECT_EQ(exit_code_of(owner), 0);
}

TEST_P(RunOwnerTest, TakesOverFromAKilledOwnerAtOnce) {
  const pid_t owner = start_sleeper(options());
  ::kill(owner, SIGKILL);
  EXPECT_EQ(exit_code_of(owner), -1);
  EXPECT_FALSE(live_owner(run_, options()));
  EXPECT_EQ(last_owner(run_)->process, owner);
  OwnershipOptions long_silence = options();
  long_silence.silence = 1h;
  EXPECT_EQ(RunOwnership::acquire(run_, long_silence).epoch(), 2);
}

// Nobody here can know whether its process lives.
TEST_P(RunOwnerTest, TakesOverFromAKilledOwnerOnAnotherHostAfterItsSilence) {
  const pid_t owner = start_sleeper(options("another host"));
  ::kill(owner, SIGKILL);
  EXPECT_EQ(exit_code_of(owner), -1);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(live_owner(run_, options()));
  EXPECT_EQ(RunOwnership::acquire(run_, options()).epoch(), 2);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, options().silence);
}

// Each host has an flock of its own.
TEST_P(RunOwnerTest, AnFlockThatIsFreeHereDoesNotHideAnOwnerOnAnotherHost) {
  const pid_t owner = start_sleeper(quick(OwnerLock::None, "another host"));
  EXPECT_EQ(live_owner(run_, options())->process, owner);
  expect_refused(options(), owner);
  ::kill(owner, SIGKILL);
  EXPECT_EQ(exit_code_of(owner), -1);
}

// Its process is there, but gives no sign of life, and no flock keeps others out.
TEST_P(RunOwnerTest, AnOwnerThatSleptWhileItWasTakenOverLearnsThatItLostTheRun) {
  const pid_t sleeper = start_owner(quick(OwnerLock::None), [&](RunOwnership& ownership) {
    ownership.check_still_owner();
    ::raise(SIGSTOP);
    // Its thread wakes up, too, and must not make the claim of another its own.
    std::this_thread::sleep_for(200ms);
    const std::string message = message_of<IoError>([&] { ownership.check_still_owner(); });
    const std::string other = fmt::format("process {} on {}", ::getppid(), host_);
    const bool names_the_other =
        message.find("another start has taken this run over") != std::string::npos &&
        message.find(other) != std::string::npos;
    return names_the_other ? 0 : 1;
  });
  int status = 0;
  ASSERT_EQ(::waitpid(sleeper, &status, WUNTRACED), sleeper);
  ASSERT_TRUE(WIFSTOPPED(status));
  const RunOwnership ownership = RunOwnership::acquire(run_, quick(OwnerLock::None));
  EXPECT_EQ(ownership.epoch(), 2);
  ::kill(sleeper, SIGCONT);
  EXPECT_EQ(exit_code_of(sleeper), 0);
  EXPECT_NO_THROW(ownership.check_still_owner());
  EXPECT_EQ(live_owner(run_, quick(OwnerLock::None))->process, ::getpid());
}

TEST_P(RunOwnerTest, OneOfManyThatStartAtOnceGetsTheRun) {
  const pid_t dead = start_sleeper(options());
  ::kill(dead, SIGKILL);
  EXPECT_EQ(exit_code_of(dead), -1);
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(start_child([&] {
      try {
        const RunOwnership ownership = RunOwnership::acquire(run_, options());
        std::this_thread::sleep_for(1500ms);
        ownership.check_still_owner();
        return 0;
      } catch (const IoError&) {
        return 74;
      }
    }));
  }
  int num_owners = 0;
  for (const pid_t child : children) {
    const int code = exit_code_of(child);
    EXPECT_THAT(code, testing::AnyOf(0, 74));
    if (code == 0) ++num_owners;
  }
  EXPECT_EQ(num_owners, 1);
  EXPECT_EQ(last_owner(run_)->epoch, 2);
}

// What a person, or a crash of a host, left of it.
TEST_P(RunOwnerTest, AClaimThatCannotBeReadIsOneOfAnUnknownProcess) {
  std::filesystem::create_directory(run_ / "epochs");
  write_bytes(run_ / "epochs/000007", "");
  write_bytes(run_ / "lock", "process 1 on an earlier limn");
  EXPECT_EQ(last_owner(run_)->epoch, 7);
  EXPECT_EQ(describe(*last_owner(run_)), "an unknown process");
  EXPECT_EQ(RunOwnership::acquire(run_, options()).epoch(), 8);
}

TEST_P(RunOwnerTest, ReadersNeedNoPermissionToWrite) {
  const pid_t owner = start_sleeper(options());
  const pid_t reader = start_child([&] {
    std::filesystem::permissions(run_, std::filesystem::perms(0755));
    if (::setuid(65534) != 0) return 77;
    return live_owner(run_, options())->process == owner ? 0 : 1;
  });
  const int code = exit_code_of(reader);
  ::kill(owner, SIGKILL);
  EXPECT_EQ(exit_code_of(owner), -1);
  if (code == 77) GTEST_SKIP() << "only root can become somebody else";
  EXPECT_EQ(code, 0);
}

}  // namespace

}  // namespace limn::test
