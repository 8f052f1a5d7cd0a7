// Checks the rules of the house that a program can check, over the files of this checkout.
//
// A rule is a function from a file to its breaches. Every rule is tried on small texts that break
// it, too: a checker that cannot fail checks nothing.

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limn::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// In the order in which an include may point: from left to right.
constexpr std::array<std::string_view, 5> kLayers = {
    "launch", "worker", "coordinator", "sharding", "storage"};

constexpr std::array<std::string_view, 11> kTopLevelEntries = {
    "CMakeLists.txt",
    "CMakePresets.json",
    "LICENSE",
    "README.md",
    "coordinator",
    "docs",
    "launch",
    "sharding",
    "storage",
    "tests",
    "worker"};

// ---- Files ----

// A C++ text taken apart: `code` has spaces for what comments and literals hold, `comments` has
// spaces for all else. Both keep the line breaks.
struct CodeAndComments {
  std::string code;
  std::string comments;
};

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  CodeAndComments split() {
    while (at_ < text_.size()) {
      if (starts_with("//")) {
        comment_until("\n");
      } else if (starts_with("/*")) {
        comment_until("*/");
      } else if (starts_with("R\"")) {
        raw_literal();
      } else if (text_[at_] == '"' || (text_[at_] == '\'' && !is_digit_separator())) {
        literal();
      } else {
        code();
      }
    }
    return std::move(out_);
  }

 private:
  bool starts_with(std::string_view prefix) const { return text_.substr(at_).starts_with(prefix); }

  // 1'000'000
  bool is_digit_separator() const {
    return at_ > 0 && std::isxdigit(static_cast<unsigned char>(text_[at_ - 1])) != 0;
  }

  void code() {
    const char c = text_[at_++];
    out_.code += c;
    out_.comments += c == '\n' ? '\n' : ' ';
  }

  void blank() {
    const char c = text_[at_++] == '\n' ? '\n' : ' ';
    out_.code += c;
    out_.comments += c;
  }

  void comment_until(std::string_view end) {
    const std::size_t found = text_.find(end, at_ + 2);
    const std::size_t stop = found == std::string_view::npos ? text_.size() : found + end.size();
    for (; at_ < stop; ++at_) {
      out_.code += text_[at_] == '\n' ? '\n' : ' ';
      out_.comments += text_[at_];
    }
  }

  // The quotes stay, so that code around a literal keeps its shape.
  void literal() {
    const char quote = text_[at_];
    code();
    while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n') {
      if (text_[at_] == '\\') blank();
      if (at_ < text_.size()) blank();
    }
    if (at_ < text_.size()) code();
  }

  // R"delimiter( ... )delimiter"
  void raw_literal() {
    const std::size_t open = text_.find('(', at_);
    std::size_t stop = text_.size();
    if (open != std::string_view::npos) {
      std::string close(text_.substr(at_ + 2, open - at_ - 2));
      close.insert(close.begin(), ')');
      close += '"';
      const std::size_t found = text_.find(close, open);
      if (found != std::string_view::npos) stop = found + close.size();
    }
    while (at_ < stop)
      blank();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  CodeAndComments out_;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

struct SourceFile {
  std::string path;  // from the root
  // Line by line: all of it, what is code and what is comment. In languages other than C++ every
  // line counts as both.
  std::vector<std::string> lines;
  std::vector<std::string> code;
  std::vector<std::string> comments;

  std::string folder() const { return path.substr(0, path.find('/')); }

  std::string stem() const { return fs::path(path).stem(); }

  bool is_header() const { return path.ends_with(".h"); }

  bool is_cpp() const { return is_header() || path.ends_with(".cpp"); }

  bool is_document() const { return path.ends_with(".md"); }
};

SourceFile make_source_file(const std::string& path, const std::string& text) {
  SourceFile file;
  file.path = path;
  file.lines = lines_of(text);
  file.code = file.lines;
  file.comments = file.lines;
  if (file.is_cpp()) {
    const CodeAndComments parts = Splitter(text).split();
    file.code = lines_of(parts.code);
    file.comments = lines_of(parts.comments);
  }
  return file;
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path.string() + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

bool is_source(const fs::path& path) {
  static const std::set<std::string> kExtensions = {
      ".h", ".cpp", ".cmake", ".md", ".py", ".sh", ".toml"};
  return kExtensions.contains(path.extension()) || path.filename() == "CMakeLists.txt";
}

// What is on disk, whether git knows it yet or not.
std::vector<SourceFile> read_checkout() {
  const fs::path root = LIMN_SOURCE_DIR;
  std::vector<std::string> paths = {"CMakeLists.txt", "README.md"};
  for (const char* folder :
       {"coordinator", "docs", "launch", "sharding", "storage", "tests", "worker"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file() && is_source(entry.path()))
        paths.push_back(entry.path().lexically_relative(root));
    }
  }
  std::ranges::sort(paths);

  std::vector<SourceFile> files;
  for (const std::string& path : paths)
    files.push_back(make_source_file(path, text_of(root / path)));
  return files;
}

// ---- Breaches ----

struct Breach {
  std::string path;
  std::size_t line;  // from 1; 0: of the whole file
  std::string what;

  friend std::ostream& operator<<(std::ostream& out, const Breach& breach) {
    return out << "\n  " << breach.path << ":" << breach.line << ": " << breach.what;
  }
};

using Breaches = std::vector<Breach>;
using Rule = Breaches (*)(const SourceFile&);

// One breach for every line that holds the pattern.
Breaches lines_with(
    const std::regex& pattern,
    const std::vector<std::string>& lines,
    const SourceFile& file,
    const std::string& what) {
  Breaches breaches;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (std::regex_search(lines[i], pattern)) breaches.push_back({file.path, i + 1, what});
  }
  return breaches;
}

// ---- Rules about one file ----

std::optional<std::size_t> layer_of(std::string_view folder) {
  const auto found = std::ranges::find(kLayers, folder);
  if (found == kLayers.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kLayers.begin());
}

// What is wrong with including `target`, if anything.
std::optional<std::string> objection_to_include(const SourceFile& file, const std::string& target) {
  if (target == "torch/torch.h") return "includes all of torch; name the header that is needed";
  const std::string folder = target.substr(0, target.find('/'));
  if (folder == "tests") {
    if (file.folder() == "tests") return std::nullopt;
    return "includes a test's header";
  }
  const std::optional<std::size_t> to = layer_of(folder);
  const std::optional<std::size_t> from = layer_of(file.folder());
  if (to && from && *to < *from) return "includes a layer to its left: " + target;
  return std::nullopt;
}

Breaches includes_point_right(const SourceFile& file) {
  static const std::regex kInclude(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");
  Breaches breaches;
  if (!file.is_cpp()) return breaches;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    std::smatch match;
    // The code says whether it is an include at all; it has blanks for the name.
    if (file.code[i].find('#') == std::string::npos) continue;
    if (!std::regex_search(file.lines[i], match, kInclude)) continue;
    const bool is_quoted = match[1] == "\"";
    const std::string target = match[2];
    if (const auto objection = objection_to_include(file, target)) {
      breaches.push_back({file.path, i + 1, *objection});
    } else if (is_quoted && target.find('/') == std::string::npos) {
      breaches.push_back({file.path, i + 1, "includes without the path from the root: " + target});
    }
  }
  return breaches;
}

Breaches hdf5_stays_in_storage(const SourceFile& file) {
  static const std::regex kName(R"(\b(hid_t|herr_t|hsize_t|H5[A-Z]\w*)\b|<(hdf5|H5\w+)\.h>)");
  if (!file.is_cpp() || file.folder() == "storage" || file.folder() == "tests") return {};
  return lines_with(kName, file.code, file, "names HDF5 outside storage");
}

// MPI begins and ends in launch: a file whose leading comment says so may name what that takes.
bool begins_and_ends_mpi(const SourceFile& file) {
  if (file.folder() != "launch") return false;
  const auto end = std::ranges::find_if(
      file.lines, [](const std::string& line) { return !line.starts_with("//"); });
  return std::any_of(file.lines.begin(), end, [](const std::string& line) {
    return line.find("MPI") != std::string::npos;
  });
}

Breaches mpi_and_nccl_stay_in_sharding(const SourceFile& file) {
  static const std::regex kName(R"(\b(MPI_\w+|nccl[A-Z]\w*)\b|<(mpi|nccl)\.h>)");
  static const std::regex kBeginningAndEnd(
      R"(\bMPI_(Init|Init_thread|Initialized|Query_thread|Finalize|Finalized|Abort|COMM_WORLD|)"
      R"(SUCCESS|THREAD_[A-Z]+)\b|<mpi\.h>)");
  if (!file.is_cpp() || file.folder() == "sharding" || file.folder() == "tests") return {};
  std::vector<std::string> code = file.code;
  if (begins_and_ends_mpi(file)) {
    for (std::string& line : code)
      line = std::regex_replace(line, kBeginningAndEnd, "");
  }
  return lines_with(kName, code, file, "names MPI or NCCL outside sharding");
}

Breaches headers_use_no_namespace(const SourceFile& file) {
  static const std::regex kDirective(R"(\busing\s+namespace\b)");
  if (!file.is_header()) return {};
  return lines_with(kDirective, file.code, file, "`using namespace` in a header");
}

Breaches headers_say_what_they_are(const SourceFile& file) {
  Breaches breaches;
  if (!file.is_header()) return breaches;
  if (file.lines.empty() || !file.lines.front().starts_with("//"))
    breaches.push_back({file.path, 1, "a header begins with a comment that says what it is"});
  if (std::ranges::find(file.code, "#pragma once") == file.code.end())
    breaches.push_back({file.path, 1, "a header has a line `#pragma once`"});
  return breaches;
}

Breaches names_mean_something(const SourceFile& file) {
  static const std::regex kEmptyFileName("(^|_)(utils?|helpers?|common|manager)(_|$)");
  static const std::regex kEmptyTypeName(
      R"(\b(class|struct|enum|union|namespace|concept)\s+(class\s+)?\w*)"
      R"(((Util|Helper)s?|Common|Manager)(?![a-z]))");
  Breaches breaches;
  if (file.is_cpp())
    breaches = lines_with(kEmptyTypeName, file.code, file, "a type named for being useful");
  if (std::regex_search(file.stem(), kEmptyFileName))
    breaches.push_back({file.path, 0, "a file named for being useful"});
  return breaches;
}

Breaches only_launch_ends_the_program(const SourceFile& file) {
  // A call, not a method of that name or its declaration: no object, class or type stands before
  // it.
  static const std::string kBefore = R"((^|[^\w.>:\s]|\b(return|else|do))\s*((std)?::)?)";
  static const std::regex kEnd(kBefore + R"((exit|_Exit|quick_exit|abort)\s*\()");
  static const std::regex kImmediateEnd(kBefore + R"(_exit\s*\()");
  if (!file.is_cpp() || file.folder() == "launch") return {};
  const std::string what = "ends the program; throw, and let main do that";
  Breaches breaches = lines_with(kEnd, file.code, file, what);
  // The child of a fork in a test may not return into GoogleTest.
  if (file.folder() != "tests") {
    std::ranges::copy(
        lines_with(kImmediateEnd, file.code, file, what), std::back_inserter(breaches));
  }
  return breaches;
}

Breaches nothing_is_left_to_do(const SourceFile& file) {
  static const std::regex kMark(R"(\b(TODO|FIXME)\b)");
  return lines_with(kMark, file.comments, file, "do it, or say what the limit is");
}

Breaches sources_are_ascii(const SourceFile& file) {
  static const std::regex kBeyondAscii("[^\\x01-\\x7f]");
  if (file.is_document()) return {};
  return lines_with(kBeyondAscii, file.lines, file, "not ASCII; literals can say \\u00e9");
}

Breaches nothing_names_a_workplace(const SourceFile& file) {
  static const std::regex kName(R"((^|[^\w.])/(work|root|home)/|\b[Ii]ssue #?[0-9])");
  return lines_with(kName, file.lines, file, "names a machine's folder or an issue");
}

struct NamedRule {
  const char* name;
  Rule breaches;

  friend std::ostream& operator<<(std::ostream& out, const NamedRule& rule) {
    return out << rule.name;
  }
};

constexpr NamedRule kRules[] = {
    {"IncludesPointRight", includes_point_right},
    {"Hdf5StaysInStorage", hdf5_stays_in_storage},
    {"MpiAndNcclStayInSharding", mpi_and_nccl_stay_in_sharding},
    {"HeadersUseNoNamespace", headers_use_no_namespace},
    {"HeadersSayWhatTheyAre", headers_say_what_they_are},
    {"NamesMeanSomething", names_mean_something},
    {"OnlyLaunchEndsTheProgram", only_launch_ends_the_program},
    {"NothingIsLeftToDo", nothing_is_left_to_do},
    {"SourcesAreAscii", sources_are_ascii},
    {"NothingNamesAWorkplace", nothing_names_a_workplace},
};

// ---- Rules about the checkout ----

Breaches tests_are_known_to_ctest(
    const std::vector<SourceFile>& files, const std::string& tests_cmake) {
  const std::string without_comments = std::regex_replace(tests_cmake, std::regex("#[^\n]*"), "");
  Breaches breaches;
  for (const SourceFile& file : files) {
    if (!file.path.ends_with("_test.cpp")) continue;
    const std::regex as_word("\\b" + file.stem() + "\\b");
    if (file.folder() != "tests" || !std::regex_search(without_comments, as_word))
      breaches.push_back({file.path, 0, "is unknown to tests/CMakeLists.txt"});
  }
  return breaches;
}

// Takes paths from the root.
Breaches root_holds_nothing_else(const std::vector<std::string>& paths) {
  std::set<std::string> entries;
  for (const std::string& path : paths)
    entries.insert(path.substr(0, path.find('/')));
  Breaches breaches;
  for (const std::string& entry : entries) {
    if (!entry.starts_with('.') &&
        std::ranges::find(kTopLevelEntries, entry) == kTopLevelEntries.end())
      breaches.push_back({entry, 0, "does not belong at the root"});
  }
  return breaches;
}

// ---- The rules over this checkout ----

class StyleRuleTest : public testing::TestWithParam<NamedRule> {};

TEST_P(StyleRuleTest, HoldsEverywhere) {
  Breaches breaches;
  for (const SourceFile& file : read_checkout())
    std::ranges::copy(GetParam().breaches(file), std::back_inserter(breaches));
  EXPECT_THAT(breaches, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, StyleRuleTest, testing::ValuesIn(kRules), [](const auto& test) {
  return test.param.name;
});

TEST(StyleTest, TestsAreKnownToCtest) {
  const std::string tests_cmake = text_of(fs::path(LIMN_SOURCE_DIR) / "tests/CMakeLists.txt");
  EXPECT_THAT(tests_are_known_to_ctest(read_checkout(), tests_cmake), IsEmpty());
}

// What git tracks; a build folder or an editor's files do not count.
std::vector<std::string> tracked_paths() {
  const std::string command = "git -C '" LIMN_SOURCE_DIR "' ls-files";
  FILE* pipe = popen(command.c_str(), "r");  // NOLINT(bugprone-command-processor): a constant
  if (pipe == nullptr) throw std::runtime_error("cannot start git");
  std::string output;
  std::array<char, 4096> block{};
  while (const std::size_t got = std::fread(block.data(), 1, block.size(), pipe))
    output.append(block.data(), got);
  if (pclose(pipe) != 0) throw std::runtime_error("git ls-files failed in " LIMN_SOURCE_DIR);
  return lines_of(output);
}

TEST(StyleTest, TheRootHoldsNothingElse) {
  if (!fs::exists(fs::path(LIMN_SOURCE_DIR) / ".git")) GTEST_SKIP() << "not a git checkout";
  EXPECT_THAT(root_holds_nothing_else(tracked_paths()), IsEmpty());
}

TEST(StyleTest, TheCheckoutIsReallyRead) {
  const std::vector<SourceFile> files = read_checkout();
  for (const char* path :
       {"storage/error.h", "tests/style_test.cpp", "launch/setup.sh", "README.md"}) {
    EXPECT_TRUE(std::ranges::any_of(files, [&](const SourceFile& f) { return f.path == path; }))
        << path;
  }
}

// ---- The rules over texts that break them, or look as if they did ----

struct Snippet {
  std::string name;
  std::string path;
  std::string text;
  std::vector<std::size_t> broken_lines;  // none: the text is fine

  friend std::ostream& operator<<(std::ostream& out, const Snippet& snippet) {
    return out << snippet.path << ":\n" << snippet.text;
  }
};

class StyleSnippetTest : public testing::TestWithParam<Snippet> {};

TEST_P(StyleSnippetTest, BreaksRulesExactlyWhereItShould) {
  const Snippet& snippet = GetParam();
  const SourceFile file = make_source_file(snippet.path, snippet.text);
  std::vector<std::size_t> broken_lines;
  for (const NamedRule& rule : kRules) {
    for (const Breach& breach : rule.breaches(file))
      broken_lines.push_back(breach.line);
  }
  EXPECT_EQ(broken_lines, snippet.broken_lines);
}

INSTANTIATE_TEST_SUITE_P(
    Broken,
    StyleSnippetTest,
    testing::Values(
        Snippet{"IncludeToTheLeft", "storage/a.cpp", "#include \"sharding/mesh.h\"\n", {1}},
        Snippet{"IncludeOfATest", "launch/a.cpp", "\n#include \"tests/a.h\"\n", {2}},
        Snippet{"IncludeWithoutPath", "storage/a.cpp", "#include \"error.h\"\n", {1}},
        Snippet{"AllOfTorch", "tests/a_test.cpp", "#include <torch/torch.h>\n", {1}},
        Snippet{"Hdf5Header", "worker/a.cpp", "#include <hdf5.h>\n", {1}},
        Snippet{"Hdf5Type", "launch/a.cpp", "void f(hid_t file);\n", {1}},
        Snippet{"Hdf5Call", "sharding/a.cpp", "x = H5Fopen(path);\n", {1}},
        Snippet{"MpiHeader", "worker/a.cpp", "#include <mpi.h>\n", {1}},
        Snippet{"MpiCall", "coordinator/a.cpp", "int i;\nMPI_Barrier(c);\n", {2}},
        Snippet{"NcclType", "worker/a.cpp", "ncclComm_t c;\n", {1}},
        Snippet{"MpiWithoutSayingSo", "launch/a.cpp", "// Main.\nMPI_Finalize();\n", {2}},
        Snippet{
            "MpiBeyondItsEnd", "launch/a.cpp", "// MPI's end.\nMPI_Finalize(), MPI_Send();\n", {2}},
        Snippet{
            "UsingNamespace", "storage/a.h", "// A.\n#pragma once\nusing namespace std;\n", {3}},
        Snippet{"NoComment", "storage/a.h", "#pragma once\n", {1}},
        Snippet{"NoPragma", "storage/a.h", "// A.\n", {1}},
        Snippet{"PragmaInAComment", "storage/a.h", "// A.\n// #pragma once\n", {1}},
        Snippet{"FileOfUtils", "storage/file_utils.cpp", "", {0}},
        Snippet{"FileOfHelpers", "launch/helpers.cmake", "", {0}},
        Snippet{"ClassManager", "worker/a.cpp", "class SweepManager {};\n", {1}},
        Snippet{"NamespaceCommon", "worker/a.cpp", "namespace Common {\n", {1}},
        Snippet{"Exit", "worker/a.cpp", "if (bad) exit(1);\n", {1}},
        Snippet{"StdAbort", "storage/a.cpp", "  std::abort();\n", {1}},
        Snippet{"ElseAbort", "tests/a_test.cpp", "else abort();\n", {1}},
        Snippet{"ImmediateExit", "storage/a.cpp", "_exit(1);\n", {1}},
        Snippet{"Todo", "storage/a.cpp", "int a;  // TODO: name it\n", {1}},
        Snippet{"FixmeInAScript", "launch/a.sh", "true\n# FIXME\n", {2}},
        Snippet{"NotAscii", "storage/a.cpp", "int a;\n// caf\xc3\xa9\n", {2}},
        Snippet{
            "MachineFolder",
            "docs/a.md",
            "see /"
            "work/data\n",
            {1}},
        Snippet{
            "MachineFolderInALiteral",
            "tests/a_test.cpp",
            "f(\"/"
            "root/x\");\n",
            {1}},
        Snippet{
            "Issue",
            "storage/a.cpp",
            "// As issue"
            " #12 asks.\n",
            {1}}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Fine,
    StyleSnippetTest,
    testing::Values(
        Snippet{"IncludeToTheRight", "launch/a.cpp", "#include \"storage/error.h\"\n", {}},
        Snippet{"IncludeOfItsOwn", "storage/a.cpp", "#include \"storage/error.h\"\n", {}},
        Snippet{
            "TestsIncludeAll",
            "tests/a.cpp",
            "#include \"launch/a.h\"\n#include \"tests/b.h\"\n",
            {}},
        Snippet{"IncludeInAComment", "storage/a.cpp", "// #include \"launch/a.h\"\n", {}},
        Snippet{"Hdf5InStorage", "storage/a.cpp", "#include <hdf5.h>\nhid_t file;\n", {}},
        Snippet{"MpiInSharding", "sharding/a.cpp", "#include <mpi.h>\nMPI_Comm c;\n", {}},
        Snippet{"MpiInAMessage", "launch/a.cpp", "throw E(\"MPI_Init failed\");\n", {}},
        Snippet{
            "MpiThatSaysSo",
            "launch/a.cpp",
            "// MPI begins here.\n#include <mpi.h>\nMPI_Init();\n",
            {}},
        Snippet{"Header", "storage/a.h", "// A.\n#pragma once\nnamespace limn {}\n", {}},
        Snippet{
            "UsingNamespaceInATest", "tests/a_test.cpp", "using namespace std::literals;\n", {}},
        Snippet{"CommonlyIsAWord", "worker/a.cpp", "struct CommonlyUsed {};\n", {}},
        Snippet{
            "MethodNamedAbort", "sharding/a.cpp", "void abort();\nc->abort();\nC::abort() {\n", {}},
        Snippet{"ExitCode", "storage/a.cpp", "int c = e.exit_code();\n", {}},
        Snippet{"ChildOfATest", "tests/a_test.cpp", "_exit(0);\n", {}},
        Snippet{"TodoInALiteral", "storage/a.cpp", "f(\"TODO\");\n", {}},
        Snippet{"RawLiteral", "storage/a.cpp", "f(R\"x(\" // TODO\nexit(1);)x\");\n", {}},
        Snippet{"DigitSeparator", "storage/a.cpp", "int a = 1'000; f(\"exit(\");\n", {}},
        Snippet{"EscapedQuote", "storage/a.cpp", "f(\"\\\"\", '\\'', \"exit(\");\n", {}},
        Snippet{"DocumentBeyondAscii", "docs/a.md", "caf\xc3\xa9\n", {}},
        Snippet{
            "PathInAUrl",
            "docs/a.md",
            "example.org/"
            "work/a\n",
            {}}),
    [](const auto& test) { return test.param.name; });

TEST(StyleTest, FindsATestThatCtestDoesNotKnow) {
  const std::vector<SourceFile> files = {
      make_source_file("tests/a_test.cpp", ""),
      make_source_file("tests/b_test.cpp", ""),
      make_source_file("tests/c_test.cpp", ""),
      make_source_file("storage/a_test.cpp", "")};
  const Breaches breaches = tests_are_known_to_ctest(
      files, "limn_add_test(a_test LINKS x)\n# limn_add_test(b_test)\nabc_test\n");
  std::vector<std::string> paths;
  for (const Breach& breach : breaches)
    paths.push_back(breach.path);
  EXPECT_THAT(paths, ElementsAre("tests/b_test.cpp", "tests/c_test.cpp", "storage/a_test.cpp"));
}

TEST(StyleTest, FindsWhatDoesNotBelongAtTheRoot) {
  const Breaches breaches =
      root_holds_nothing_else({".ci/run", "README.md", "common/a.h", "docs/x.md"});
  ASSERT_EQ(breaches.size(), 1);
  EXPECT_EQ(breaches.front().path, "common");
}

TEST(StyleTest, ABreachSaysWhere) {
  const Breaches breaches =
      includes_point_right(make_source_file("storage/a.cpp", "\n#include \"launch/b.h\"\n"));
  EXPECT_THAT(
      testing::PrintToString(breaches),
      HasSubstr("storage/a.cpp:2: includes a layer to its left: launch/b.h"));
}

}  // namespace
}  // namespace limn::test
