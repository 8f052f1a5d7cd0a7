#include "storage/run_owner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "storage/durable_file.h"
#include "storage/error.h"

namespace limn {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

// Behind the owner's line; of one length, so that a claim is altered in place by one write.
constexpr const char* kBeat = "beat {:012}\n";
constexpr const char* kEnded = "end  {:012}\n";
constexpr std::string_view kEndedBegin = "end ";

constexpr auto kPoll = std::chrono::milliseconds(50);

fs::path lock_path(const fs::path& run) {
  return run / "lock";
}

fs::path epochs_path(const fs::path& run) {
  return run / "epochs";
}

fs::path claim_path(const fs::path& run, std::int64_t epoch) {
  return epochs_path(run) / fmt::format("{:06}", epoch);
}

std::string environment_text(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string slurm_job_id() {
  const std::string array = environment_text("SLURM_ARRAY_JOB_ID");
  const std::string task = environment_text("SLURM_ARRAY_TASK_ID");
  if (!array.empty() && !task.empty()) return fmt::format("{}_{}", array, task);
  return environment_text("SLURM_JOB_ID");
}

// Hosts may share a name, and containers of one host see each other's processes by other numbers.
std::string this_machine() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  std::error_code unreadable;
  return fmt::format("{} {}", boot, fs::read_symlink("/proc/self/ns/pid", unreadable).string());
}

RunOwner this_process() {
  std::array<char, 256> host = {};
  ::gethostname(host.data(), host.size() - 1);
  return {
      .host = host.data(),
      .job_id = slurm_job_id(),
      .process = ::getpid(),
      .started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))};
}

// What a claim says.
struct Claim {
  RunOwner owner;
  std::string machine;
  bool has_ended = false;
  std::string bytes;  // changes with every sign of life
};

std::string line_of(const RunOwner& owner, const std::string& machine) {
  const nlohmann::ordered_json document = {
      {"host", owner.host},
      {"job_id", owner.job_id},
      {"process", owner.process},
      {"epoch", owner.epoch},
      {"started", owner.started},
      {"machine", machine}};
  return document.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) + "\n";
}

// What cannot be read stays unknown: it is for messages, and of a claim only the number counts.
Claim parse_claim(std::string bytes) {
  Claim claim;
  const std::size_t line_end = std::min(bytes.find('\n'), bytes.size());
  const json document = json::parse(bytes.substr(0, line_end), nullptr, /*allow_exceptions=*/false);
  if (document.is_object()) {
    try {
      claim.owner = {
          .host = document.at("host").get<std::string>(),
          .job_id = document.at("job_id").get<std::string>(),
          .process = document.at("process").get<std::int64_t>(),
          .epoch = document.at("epoch").get<std::int64_t>(),
          .started = document.at("started").get<std::string>()};
      claim.machine = document.at("machine").get<std::string>();
    } catch (const json::exception&) {
      claim = {};
    }
  }
  if (line_end < bytes.size())
    claim.has_ended = std::string_view(bytes).substr(line_end + 1).starts_with(kEndedBegin);
  claim.bytes = std::move(bytes);
  return claim;
}

// Opened anew for each look: where files are on another host this asks it.
std::optional<std::string> read_small_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ESTALE || errno == ENOTDIR) return std::nullopt;
    throw_errno(path, "cannot be opened");
  }
  std::array<char, 4096> bytes = {};
  const ssize_t length = ::pread(descriptor, bytes.data(), bytes.size(), 0);
  const int error = errno;
  ::close(descriptor);
  errno = error;
  if (length < 0 && errno == ESTALE) return std::nullopt;
  if (length < 0) throw_errno(path, "cannot be read");
  return std::string(bytes.data(), static_cast<std::size_t>(length));
}

std::vector<fs::path> list_epochs(const fs::path& run) {
  std::vector<fs::path> paths;
  std::error_code code;
  for (fs::directory_iterator entry(epochs_path(run), code), end; !code && entry != end;
       entry.increment(code))
    paths.push_back(entry->path());
  if (code && code != std::errc::no_such_file_or_directory) {
    throw IoError(
        fmt::format("{}: cannot be listed: {}", epochs_path(run).string(), code.message()));
  }
  return paths;
}

// The number of an epoch's claim; nothing for any other file.
std::optional<std::int64_t> epoch_of(const fs::path& path) {
  const std::string name = path.filename().string();
  std::int64_t epoch = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), epoch);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return epoch;
}

// 0: none was ever claimed.
std::int64_t highest_epoch(const fs::path& run) {
  std::int64_t highest = 0;
  for (const fs::path& path : list_epochs(run))
    highest = std::max(highest, epoch_of(path).value_or(0));
  return highest;
}

// Of the highest epoch. A claim that vanishes while it is read was followed by a higher one.
std::optional<Claim> read_last_claim(const fs::path& run) {
  while (const std::int64_t epoch = highest_epoch(run)) {
    if (auto bytes = read_small_file(claim_path(run, epoch))) {
      Claim claim = parse_claim(*std::move(bytes));
      claim.owner.epoch = epoch;
      return claim;
    }
    if (highest_epoch(run) == epoch) return Claim{.owner = {.epoch = epoch}};
  }
  return std::nullopt;
}

// Whether the owner's process is known to be gone.
bool is_gone(const Claim& claim, const std::string& machine) {
  return claim.machine == machine && claim.owner.process > 0 &&
         ::kill(static_cast<pid_t>(claim.owner.process), 0) != 0 && errno == ESRCH;
}

enum class FlockState { Taken, Free, Unsupported };

FlockState try_flock(const FileDescriptor& lock, const fs::path& path, int operation) {
  while (::flock(lock.get(), operation | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return FlockState::Taken;
    if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS) return FlockState::Unsupported;
    throw_errno(path, "cannot be locked");
  }
  return FlockState::Free;
}

[[noreturn]] void refuse(
    const fs::path& run, const std::optional<Claim>& claim, const std::string& machine) {
  const bool is_known = claim && !claim->has_ended && !is_gone(*claim, machine);
  throw IoError(fmt::format(
      "{}: another run is at work here; wait for its end, or choose another output.path: {}",
      lock_path(run).string(),
      describe(is_known ? claim->owner : RunOwner{})));
}

// Until the owner, if there is one, has ended or has been silent for long. Returns the epoch that
// the next one follows.
std::int64_t wait_for_the_end(
    const fs::path& run,
    const OwnershipOptions& options,
    const std::string& machine,
    Clock::time_point deadline) {
  std::optional<Claim> claim = read_last_claim(run);
  Clock::time_point last_change = Clock::now();
  bool was_seen_alive = false;
  while (claim && !claim->has_ended && !is_gone(*claim, machine)) {
    const auto now = Clock::now();
    if (was_seen_alive && now >= deadline) refuse(run, claim, machine);
    if (now - last_change >= options.silence) break;
    std::this_thread::sleep_for(kPoll);
    std::optional<Claim> next = read_last_claim(run);
    if (next && next->bytes != claim->bytes) {
      last_change = Clock::now();
      was_seen_alive = true;
    }
    claim = std::move(next);
  }
  return claim ? claim->owner.epoch : 0;
}

// Under flock: one that reaches all hosts says enough, and if it is one of each host's own, or
// there is none, so do signs of life.
std::int64_t wait_for_the_run(
    const fs::path& run,
    const OwnershipOptions& options,
    const std::string& machine,
    const FileDescriptor& lock) {
  const auto deadline = Clock::now() + options.patience;
  if (options.lock == OwnerLock::None) return wait_for_the_end(run, options, machine, deadline);
  FlockState state = try_flock(lock, lock_path(run), LOCK_EX);
  while (state == FlockState::Taken) {
    if (Clock::now() >= deadline) refuse(run, read_last_claim(run), machine);
    std::this_thread::sleep_for(kPoll);
    state = try_flock(lock, lock_path(run), LOCK_EX);
  }
  const std::optional<Claim> claim = read_last_claim(run);
  const bool flock_tells = state == FlockState::Free && claim && claim->machine == machine;
  if (flock_tells) return claim->owner.epoch;
  return wait_for_the_end(run, options, machine, deadline);
}

// Creates the file with these bytes; false when there is one.
bool create_whole(const fs::path& path, const std::string& bytes) {
  const RunOwner self = this_process();
  const TemporaryFile temporary_file(path, fmt::format("{}-{}", self.host, self.process));
  const fs::path& temporary = temporary_file.path();
  write_text(FileDescriptor(temporary, O_WRONLY | O_CREAT), temporary, bytes);
  sync_file(temporary);
  const bool linked = ::link(temporary.c_str(), path.c_str()) == 0;
  const int error = linked ? 0 : errno;
  // An answer of a server that was lost is asked for again, and then the name exists.
  struct stat status = {};
  const bool is_ours = linked || (::stat(temporary.c_str(), &status) == 0 && status.st_nlink == 2);
  if (!is_ours && (error == EPERM || error == EOPNOTSUPP || error == ENOSYS)) {
    // No links here; O_EXCL is as good, but for a crash before the bytes are written.
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST) return false;
    if (descriptor < 0) throw_errno(path, "cannot be created");
    ::close(descriptor);
    write_text(FileDescriptor(path, O_WRONLY), path, bytes);
    sync_file(path);
  } else if (!is_ours) {
    // ENOENT: whoever was quicker tidied up.
    if (error == EEXIST || error == ENOENT) return false;
    errno = error;
    throw_errno(path, "cannot be created");
  }
  sync_folder(path.parent_path());
  return true;
}

// Earlier claims, and what a killed start left of its own: of the epochs only the highest counts,
// and an owner whose claim is gone knows that it lost the run.
void remove_earlier_claims(const fs::path& run, std::int64_t epoch) {
  for (const fs::path& path : list_epochs(run)) {
    const auto other = epoch_of(path);
    const bool is_temporary = path.extension() == ".tmp";
    if (is_temporary || (other && *other < epoch)) ::unlink(path.c_str());
  }
}

void create_epochs(const fs::path& run) {
  std::error_code code;
  const bool is_new = fs::create_directory(epochs_path(run), code);
  if (code) {
    throw IoError(fmt::format(
        "{}: the folder cannot be created: {}", epochs_path(run).string(), code.message()));
  }
  if (is_new) sync_folder(run);
}

// Nothing when another start was quicker.
std::optional<RunOwner> claim_epoch(
    const fs::path& run, std::int64_t epoch, const std::string& machine) {
  RunOwner owner = this_process();
  owner.epoch = epoch;
  const std::string bytes = line_of(owner, machine) + fmt::format(kBeat, 0);
  if (!create_whole(claim_path(run, epoch), bytes)) return std::nullopt;
  if (highest_epoch(run) != epoch) {
    ::unlink(claim_path(run, epoch).c_str());
    return std::nullopt;
  }
  return owner;
}

}  // namespace

std::string describe(const RunOwner& owner) {
  if (owner.host.empty()) return "an unknown process";
  std::string text = fmt::format("process {} on {}", owner.process, owner.host);
  if (!owner.job_id.empty()) text += fmt::format(", Slurm job {}", owner.job_id);
  return text + fmt::format(", since {}", owner.started);
}

class RunOwnership::Impl {
 public:
  Impl(const fs::path& run, const OwnershipOptions& options)
      : run_(run),
        machine_(options.machine.empty() ? this_machine() : options.machine),
        heartbeat_(options.heartbeat),
        lock_(lock_path(run), O_RDWR | O_CREAT),
        owner_(acquire(options)) {
    remove_earlier_claims(run_, owner_.epoch);
    write_text(lock_, lock_path(run_), line_of(owner_, machine_));
    beating_ = std::thread([this] { beat(); });
  }

  ~Impl() {
    {
      const std::lock_guard guard(mutex_);
      ends_ = true;
    }
    wake_.notify_all();
    beating_.join();
    alter_claim(fmt::format(kEnded, num_beats_));
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  const RunOwner& owner() const { return owner_; }

  void check_still_owner() const {
    const std::int64_t highest = highest_epoch(run_);
    // Looked for by its name, too: a folder's list may be an old one where it is on another host.
    const bool is_lost = highest > owner_.epoch || !read_small_file(claim_path(run_, owner_.epoch));
    if (!is_lost) return;
    const std::optional<Claim> other = read_last_claim(run_);
    throw IoError(fmt::format(
        "{}: another start has taken this run over, and this one ends without writing more; go on "
        "with the other: {}",
        run_.string(),
        describe(other && other->owner.epoch > owner_.epoch ? other->owner : RunOwner{})));
  }

 private:
  RunOwner acquire(const OwnershipOptions& options) {
    create_epochs(run_);
    while (true) {
      const std::int64_t last = wait_for_the_run(run_, options, machine_, lock_);
      if (auto owner = claim_epoch(run_, last + 1, machine_)) return *std::move(owner);
    }
  }

  void beat() {
    std::unique_lock guard(mutex_);
    while (!wake_.wait_for(guard, heartbeat_, [this] { return ends_; })) {
      ++num_beats_;
      alter_claim(fmt::format(kBeat, num_beats_));
    }
  }

  // Closed after each write, which is what carries it to other hosts. Nothing can be done if it
  // fails: the next one may not, and if none comes through others may think that this owner died.
  void alter_claim(const std::string& line) const noexcept {
    const fs::path path = claim_path(run_, owner_.epoch);
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    const auto offset = static_cast<off_t>(line_of(owner_, machine_).size());
    [[maybe_unused]] const ssize_t written = ::pwrite(descriptor, line.data(), line.size(), offset);
    ::close(descriptor);
  }

  fs::path run_;
  std::string machine_;
  std::chrono::milliseconds heartbeat_;
  // The lock lasts until the last copy of the descriptor is closed: it goes with the process, and
  // is not handed down to programs that it starts (O_CLOEXEC). Children forked without exec share
  // it.
  FileDescriptor lock_;
  RunOwner owner_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;           // guarded by mutex_
  std::int64_t num_beats_ = 0;  // of the thread, while it runs
  std::thread beating_;
};

RunOwnership RunOwnership::acquire(
    const std::filesystem::path& run, const OwnershipOptions& options) {
  return RunOwnership(std::make_unique<Impl>(run, options));
}

RunOwnership::RunOwnership(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RunOwnership::~RunOwnership() = default;
RunOwnership::RunOwnership(RunOwnership&&) noexcept = default;
RunOwnership& RunOwnership::operator=(RunOwnership&&) noexcept = default;

const RunOwner& RunOwnership::owner() const {
  return impl_->owner();
}

void RunOwnership::check_still_owner() const {
  impl_->check_still_owner();
}

namespace {

// What flock tells a reader; Free where it tells nothing.
FlockState flock_of_reader(const fs::path& run, const OwnershipOptions& options) {
  std::error_code missing;
  if (options.lock == OwnerLock::None) return FlockState::Unsupported;
  if (!fs::exists(lock_path(run), missing)) return FlockState::Free;
  // A shared one, given back at once: a start that meets it tries again.
  const FileDescriptor lock(lock_path(run), O_RDONLY);
  return try_flock(lock, lock_path(run), LOCK_SH);
}

bool gives_signs_of_life(const fs::path& run, const Claim& claim, const OwnershipOptions& options) {
  const auto deadline = Clock::now() + 3 * options.heartbeat;
  while (Clock::now() < deadline) {
    std::this_thread::sleep_for(kPoll);
    const std::optional<Claim> now = read_last_claim(run);
    if (now && now->bytes != claim.bytes) return !now->has_ended;
  }
  return false;
}

}  // namespace

std::optional<RunOwner> live_owner(
    const std::filesystem::path& run, const OwnershipOptions& options) {
  const std::string machine = options.machine.empty() ? this_machine() : options.machine;
  const std::optional<Claim> claim = read_last_claim(run);
  const FlockState state = flock_of_reader(run, options);
  // A start that is about to make its claim is not known yet.
  const bool has_ended = !claim || claim->has_ended || is_gone(*claim, machine);
  if (state == FlockState::Taken) return has_ended ? RunOwner{} : claim->owner;
  if (has_ended) return std::nullopt;
  const bool flock_tells = state == FlockState::Free && claim->machine == machine;
  if (flock_tells || !gives_signs_of_life(run, *claim, options)) return std::nullopt;
  return claim->owner;
}

std::optional<RunOwner> last_owner(const std::filesystem::path& run) {
  const std::optional<Claim> claim = read_last_claim(run);
  if (!claim) return std::nullopt;
  return claim->owner;
}

}  // namespace limn
