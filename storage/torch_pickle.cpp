#include "storage/torch_pickle.h"

#include <algorithm>
#include <array>
#include <deque>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "storage/byte_reader.h"
#include "storage/error.h"

namespace limn {

namespace {

// The operations that state dicts are made of, as Python's pickletools names and describes them.
enum class Opcode : unsigned char {
  Mark = '(',
  Stop = '.',
  Binfloat = 'G',
  Binint = 'J',
  Binint1 = 'K',
  Binint2 = 'M',
  None = 'N',
  Binpersid = 'Q',
  Reduce = 'R',
  Binunicode = 'X',
  Append = 'a',
  Build = 'b',
  Global = 'c',
  Appends = 'e',
  Binget = 'h',
  LongBinget = 'j',
  Setitem = 's',
  Tuple = 't',
  Setitems = 'u',
  Binput = 'q',
  LongBinput = 'r',
  EmptyList = ']',
  EmptyTuple = ')',
  EmptyDict = '}',
  Proto = 0x80,
  Tuple1 = 0x85,
  Tuple2 = 0x86,
  Tuple3 = 0x87,
  Newtrue = 0x88,
  Newfalse = 0x89,
  Long1 = 0x8a,
  ShortBinunicode = 0x8c,
  Binunicode8 = 0x8d,
  StackGlobal = 0x93,
  Memoize = 0x94,
  Frame = 0x95,
};

constexpr std::uint64_t kNewestProtocol = 5;

// A limit of limn's own, as one byte can cost a hundred of memory. A tensor takes some 300.
constexpr std::size_t kMaxPickleBytes = 32 << 20;

// torch has no more dimensions.
constexpr std::size_t kMaxDimensions = 64;

struct StorageClass {
  std::string_view name;
  std::string_view dtype;
};

constexpr std::array<StorageClass, 12> kStorageClasses = {{
    {"DoubleStorage", "float64"},
    {"FloatStorage", "float32"},
    {"HalfStorage", "float16"},
    {"BFloat16Storage", "bfloat16"},
    {"LongStorage", "int64"},
    {"IntStorage", "int32"},
    {"ShortStorage", "int16"},
    {"CharStorage", "int8"},
    {"ByteStorage", "uint8"},
    {"BoolStorage", "bool"},
    {"ComplexFloatStorage", "complex64"},
    {"ComplexDoubleStorage", "complex128"},
}};

// The types that have no storage class of their own: their tensors name them.
constexpr std::array<std::string_view, 10> kNewerDtypes = {
    "uint16",
    "uint32",
    "uint64",
    "complex32",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2"};

// ---- Values ----

struct Value;

// None, booleans and floats: nothing that describes a tensor depends on them.
struct Passed {};

// What a pickle may call.
enum class Function { RebuildTensorV2, RebuildTensorV3, RebuildParameter, OrderedDict };

struct NamedFunction {
  std::string_view module;
  std::string_view name;
  Function function;
};

constexpr std::array<NamedFunction, 4> kFunctions = {{
    {"torch._utils", "_rebuild_tensor_v2", Function::RebuildTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", Function::RebuildTensorV3},
    {"torch._utils", "_rebuild_parameter", Function::RebuildParameter},
    {"collections", "OrderedDict", Function::OrderedDict},
}};

// A storage class of torch, or its dtype. UntypedStorage has none.
struct ElementType {
  std::string_view dtype;
};

struct Storage {
  std::string_view dtype;
  std::string_view key;
};

struct Tuple {
  std::vector<Value*> items;
};

struct List {
  std::vector<Value*> items;
};

struct Dict {
  std::vector<Value*> items;  // key, value, key, value
};

// Texts borrow the pickle.
struct Value {
  std::variant<
      Passed,
      std::int64_t,
      std::string_view,
      Function,
      ElementType,
      Storage,
      Tuple,
      List,
      Dict,
      PickledTensor>
      is;
};

// ---- The machine ----

// Executes the operations of one pickle. A value is owned by `values_`, which only grows: values
// can contain each other in circles, and their depth has no limit.
class Unpickler {
 public:
  Unpickler(std::span<const std::byte> pickle, const std::string& where)
      : bytes_(pickle, where),
        where_(where) {}

  // The value that the pickle leaves behind. Borrows: this.
  const Value& run() {
    for (;;) {
      const auto opcode = static_cast<Opcode>(bytes_.number(1));
      if (opcode == Opcode::Stop) return *pop();
      execute(opcode);
    }
  }

 private:
  using Values = std::vector<Value*>;

  void execute(Opcode opcode) {
    switch (opcode) {
      case Opcode::Proto:
        return check_protocol(bytes_.number(1));
      case Opcode::Frame:
        bytes_.bytes(8);
        return;
      case Opcode::Stop:
        return;

      case Opcode::None:
      case Opcode::Newtrue:
      case Opcode::Newfalse:
        return push(Passed{});
      case Opcode::Binfloat:
        bytes_.bytes(8);
        return push(Passed{});
      case Opcode::Binint:
        return push(integer(4));
      case Opcode::Binint1:
        return push(static_cast<std::int64_t>(bytes_.number(1)));
      case Opcode::Binint2:
        return push(static_cast<std::int64_t>(bytes_.number(2)));
      case Opcode::Long1:
        return push(integer(bytes_.number(1)));
      case Opcode::ShortBinunicode:
        return push(bytes_.text(bytes_.number(1)));
      case Opcode::Binunicode:
        return push(bytes_.text(bytes_.number(4)));
      case Opcode::Binunicode8:
        return push(bytes_.text(bytes_.number(8)));

      case Opcode::EmptyTuple:
        return push(Tuple{});
      case Opcode::Tuple1:
        return push(Tuple{pop_last(1)});
      case Opcode::Tuple2:
        return push(Tuple{pop_last(2)});
      case Opcode::Tuple3:
        return push(Tuple{pop_last(3)});
      case Opcode::Tuple:
        return push(Tuple{pop_to_mark()});
      case Opcode::EmptyList:
        return push(List{});
      case Opcode::Append:
        return append_to(&List::items, pop_last(1));
      case Opcode::Appends:
        return append_to(&List::items, pop_to_mark());
      case Opcode::EmptyDict:
        return push(Dict{});
      case Opcode::Setitem:
        return append_to(&Dict::items, pop_last(2));
      case Opcode::Setitems:
        return append_to(&Dict::items, pop_pairs());

      case Opcode::Mark:
        return marks_.push_back(stack_.size());
      case Opcode::Binput:
        return memoize(bytes_.number(1));
      case Opcode::LongBinput:
        return memoize(bytes_.number(4));
      case Opcode::Memoize:
        return memoize(memo_.size());
      case Opcode::Binget:
        return push_memoized(bytes_.number(1));
      case Opcode::LongBinget:
        return push_memoized(bytes_.number(4));

      case Opcode::Global:
        return push_global();
      case Opcode::StackGlobal:
        return push_global_from_stack();
      case Opcode::Binpersid:
        return push_storage();
      case Opcode::Reduce:
        return call();
      case Opcode::Build:
        return build();
    }
    throw DataError(fmt::format(
        "{}: no state dict, or a damaged one; get the model as safetensors: opcode 0x{:02x}",
        where_,
        static_cast<int>(opcode)));
  }

  [[noreturn]] void refuse(std::string_view problem) const {
    throw DataError(fmt::format("{}: a damaged pickle; fetch it again: {}", where_, problem));
  }

  void check_protocol(std::uint64_t protocol) const {
    if (protocol > kNewestProtocol) {
      throw DataError(fmt::format(
          "{}: the pickle's protocol must be at most {}: {}", where_, kNewestProtocol, protocol));
    }
  }

  // Little-endian, two's complement.
  std::int64_t integer(std::uint64_t width) {
    if (width == 0) return 0;
    if (width > 8) refuse("an integer of more than 8 bytes");
    const auto unused_bits = static_cast<int>(64 - 8 * width);
    const std::uint64_t value = bytes_.number(static_cast<std::int64_t>(width));
    return static_cast<std::int64_t>(value << unused_bits) >> unused_bits;
  }

  // -- The stack and the memo --

  template <typename T>
  void push(T is) {
    stack_.push_back(&values_.emplace_back(Value{std::move(is)}));
  }

  // Where the values begin that an operation may take: above the last mark.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  Value* top() const {
    if (stack_.size() <= floor()) refuse("an operation without its value");
    return stack_.back();
  }

  Value* pop() {
    Value* const value = top();
    stack_.pop_back();
    return value;
  }

  Values pop_last(std::size_t count) {
    if (stack_.size() - floor() < count) refuse("an operation without its values");
    return pop_from(stack_.size() - count);
  }

  Values pop_to_mark() {
    if (marks_.empty()) refuse("an operation without its mark");
    const std::size_t begin = marks_.back();
    marks_.pop_back();
    return pop_from(begin);
  }

  Values pop_pairs() {
    Values pairs = pop_to_mark();
    if (pairs.size() % 2 != 0) refuse("a key without its value");
    return pairs;
  }

  Values pop_from(std::size_t begin) {
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(begin);
    Values values(first, stack_.end());
    stack_.erase(first, stack_.end());
    return values;
  }

  void memoize(std::uint64_t key) { memo_[key] = top(); }

  void push_memoized(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) refuse("a reference to nothing");
    stack_.push_back(found->second);
  }

  // -- Lists and dicts --

  template <typename Collection>
  void append_to(Values Collection::*items, const Values& more) {
    Values& all = as<Collection>(top()).*items;
    all.insert(all.end(), more.begin(), more.end());
  }

  // Gives an object its attributes. That of an OrderedDict is _metadata, the versions of its
  // modules.
  void build() {
    pop();
    as<Dict>(top());
  }

  // -- Globals --

  void push_global() {
    const std::string_view module = bytes_.line();
    push_named(module, bytes_.line());
  }

  void push_global_from_stack() {
    const Values names = pop_last(2);
    push_named(as<std::string_view>(names[0]), as<std::string_view>(names[1]));
  }

  void push_named(std::string_view module, std::string_view name) {
    if (module == "torch") return push(element_type(name));
    if (module == "torch.storage" && name == "UntypedStorage") return push(ElementType{});
    for (const NamedFunction& function : kFunctions) {
      if (function.module == module && function.name == name) return push(function.function);
    }
    refuse_to_run(module, name);
  }

  ElementType element_type(std::string_view name) const {
    const auto* const storage = std::ranges::find(kStorageClasses, name, &StorageClass::name);
    if (storage != kStorageClasses.end()) return {storage->dtype};
    const auto* const older = std::ranges::find(kStorageClasses, name, &StorageClass::dtype);
    if (older != kStorageClasses.end()) return {older->dtype};
    const auto* const newer = std::ranges::find(kNewerDtypes, name);
    if (newer != kNewerDtypes.end()) return {*newer};
    refuse_to_run("torch", name);
  }

  [[noreturn]] void refuse_to_run(std::string_view module, std::string_view name) const {
    throw DataError(fmt::format(
        "{}: holds more than tensors; get the model as safetensors: refuses to run {}.{}",
        where_,
        module,
        name));
  }

  // -- Calls --

  // ('storage', class, key, device, number of elements), which torch keeps outside the pickle.
  void push_storage() {
    const Values id = as<Tuple>(pop()).items;
    if (id.size() != 5 || as<std::string_view>(id[0]) != "storage") refuse("no id of a storage");
    push(Storage{as<ElementType>(id[1]).dtype, as<std::string_view>(id[2])});
  }

  void call() {
    const Values values = pop_last(2);
    const Values& arguments = as<Tuple>(values[1]).items;
    switch (as<Function>(values[0])) {
      case Function::OrderedDict:
        check_count(arguments, 0);
        return push(Dict{});
      case Function::RebuildParameter:
        check_count(arguments, 3);
        as<PickledTensor>(arguments[0]);
        return stack_.push_back(arguments[0]);
      case Function::RebuildTensorV2:
        check_count(arguments, 6);
        return push_tensor(arguments, as<Storage>(arguments[0]).dtype);
      case Function::RebuildTensorV3:
        check_count(arguments, 7);
        return push_tensor(arguments, as<ElementType>(arguments[6]).dtype);
    }
  }

  // torch adds an argument for what limn does not know: conjugate and negative views.
  void check_count(const Values& arguments, std::size_t expected) const {
    if (arguments.size() != expected) {
      throw DataError(fmt::format(
          "{}: a tensor is described in an unknown way; get the model as safetensors: {} of {} "
          "arguments",
          where_,
          arguments.size(),
          expected));
    }
  }

  // Storage, offset, shape, strides, whether it needs a gradient, hooks.
  void push_tensor(const Values& arguments, std::string_view dtype) {
    PickledTensor tensor;
    tensor.dtype = dtype;
    tensor.storage = as<Storage>(arguments[0]).key;
    tensor.storage_offset = count(arguments[1]);
    tensor.shape = counts(arguments[2]);
    tensor.strides = counts(arguments[3]);
    if (tensor.shape.size() != tensor.strides.size()) refuse("a tensor without all its strides");
    push(std::move(tensor));
  }

  std::vector<std::int64_t> counts(Value* tuple) const {
    const Values& items = as<Tuple>(tuple).items;
    if (items.size() > kMaxDimensions) refuse("a tensor of too many dimensions");
    std::vector<std::int64_t> counts;
    for (Value* const item : items)
      counts.push_back(count(item));
    return counts;
  }

  std::int64_t count(Value* value) const {
    const std::int64_t count = as<std::int64_t>(value);
    if (count < 0) refuse("a negative size");
    return count;
  }

  template <typename T>
  T& as(Value* value) const {
    T* const found = std::get_if<T>(&value->is);
    if (found == nullptr) refuse("an operation on a value of another type");
    return *found;
  }

  ByteReader bytes_;
  const std::string& where_;
  std::deque<Value> values_;
  Values stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::unordered_map<std::uint64_t, Value*> memo_;
};

}  // namespace

std::vector<PickledTensor> read_state_dict(
    std::span<const std::byte> pickle, const std::string& where) {
  if (pickle.size() > kMaxPickleBytes) {
    throw DataError(fmt::format(
        "{}: a pickle must have at most {} bytes: {}", where, kMaxPickleBytes, pickle.size()));
  }
  Unpickler unpickler(pickle, where);
  const auto* const state = std::get_if<Dict>(&unpickler.run().is);
  if (state == nullptr) {
    throw DataError(fmt::format("{}: must hold a dict of tensors; save the state_dict()", where));
  }
  std::vector<PickledTensor> tensors;
  for (std::size_t i = 0; i + 1 < state->items.size(); i += 2) {
    const auto* const name = std::get_if<std::string_view>(&state->items[i]->is);
    const auto* const tensor = std::get_if<PickledTensor>(&state->items[i + 1]->is);
    if (name == nullptr || tensor == nullptr) continue;
    tensors.push_back(*tensor);
    tensors.back().name = *name;
  }
  if (tensors.empty() && !state->items.empty()) {
    throw DataError(fmt::format(
        "{}: must have its tensors in the outermost dict; save the state_dict() itself", where));
  }
  return tensors;
}

}  // namespace limn
