#include "storage/hdf5_handle.h"

#include <fcntl.h>

#include <array>
#include <cstddef>

#include <fmt/format.h>

#include "storage/durable_file.h"
#include "storage/error.h"

namespace limn {

namespace {

// The description at the bottom of the error stack: what happened first.
herr_t take_description(unsigned, const H5E_error2_t* error, void* description) {
  auto& text = *static_cast<std::string*>(description);
  if (text.empty() && error->desc != nullptr) text = error->desc;
  return 0;
}

// The operating system's words, where HDF5 wraps them into a line of numbers and times.
std::string system_words(const std::string& description) {
  constexpr std::string_view kBefore = "error message = '";
  const std::size_t before = description.find(kBefore);
  if (before == std::string::npos) return description;
  const std::size_t begin = before + kBefore.size();
  return description.substr(begin, description.find('\'', begin) - begin);
}

std::string innermost_error() {
  std::string description;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_description, &description);
  return description.empty() ? "HDF5 failed" : system_words(description);
}

[[noreturn]] void throw_failure(const Hdf5Origin& origin, std::string_view what) {
  if (origin.access == Hdf5Access::Write) {
    throw IoError(
        fmt::format("{}: {} cannot be written: {}", origin.file, what, innermost_error()));
  }
  throw DataError(fmt::format("{}: {} is damaged: {}", origin.file, what, innermost_error()));
}

// The result of an HDF5 call that says by a negative number that it failed. `what` names the part
// of the file for the message.
template <typename Call>
auto checked(const Hdf5Origin& origin, std::string_view what, Call call) {
  // Each thread has an error stack of its own, which prints unless told otherwise.
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  const auto result = call();
  if (result < 0) throw_failure(origin, what);
  return result;
}

hid_t stored_type(ElementType type) {
  switch (type) {
    case ElementType::Uint8:
      return H5T_STD_U8LE;
    case ElementType::Int32:
      return H5T_STD_I32LE;
    case ElementType::Int64:
      return H5T_STD_I64LE;
    case ElementType::Float32:
      return H5T_IEEE_F32LE;
    case ElementType::Text:
      break;
  }
  throw InternalError("stored_type: text has a type of its own");
}

hid_t memory_type(ElementType type) {
  switch (type) {
    case ElementType::Uint8:
      return H5T_NATIVE_UINT8;
    case ElementType::Int32:
      return H5T_NATIVE_INT32;
    case ElementType::Int64:
      return H5T_NATIVE_INT64;
    case ElementType::Float32:
      return H5T_NATIVE_FLOAT;
    case ElementType::Text:
      break;
  }
  throw InternalError("memory_type: text has a type of its own");
}

Hdf5TypeId text_type(const Hdf5Origin& origin, std::size_t size) {
  Hdf5TypeId type(checked(origin, "a type", [] { return H5Tcopy(H5T_C_S1); }));
  checked(origin, "a type", [&] { return H5Tset_size(type.get(), size); });
  checked(origin, "a type", [&] { return H5Tset_cset(type.get(), H5T_CSET_UTF8); });
  return type;
}

// An element type as an identifier that is closed, whoever made it.
Hdf5TypeId copy_type(const Hdf5Origin& origin, ElementType type, hid_t (*predefined)(ElementType)) {
  if (type == ElementType::Text) return text_type(origin, H5T_VARIABLE);
  return Hdf5TypeId(checked(origin, "a type", [&] { return H5Tcopy(predefined(type)); }));
}

Hdf5SpaceId simple_space(
    const Hdf5Origin& origin,
    std::span<const hsize_t> extents,
    const hsize_t* max_extents = nullptr) {
  return Hdf5SpaceId(checked(origin, "a data space", [&] {
    return H5Screate_simple(static_cast<int>(extents.size()), extents.data(), max_extents);
  }));
}

Hdf5SpaceId scalar_space(const Hdf5Origin& origin) {
  return Hdf5SpaceId(checked(origin, "a data space", [] { return H5Screate(H5S_SCALAR); }));
}

// Properties of a new object. Its times are not kept: bytes written depend on the content alone.
Hdf5PropertiesId object_properties(const Hdf5Origin& origin, hid_t kind) {
  Hdf5PropertiesId properties(checked(origin, "properties", [&] { return H5Pcreate(kind); }));
  checked(origin, "properties", [&] { return H5Pset_obj_track_times(properties.get(), false); });
  return properties;
}

Hdf5PropertiesId file_access_properties(const Hdf5Origin& origin) {
  Hdf5PropertiesId properties(
      checked(origin, "properties", [] { return H5Pcreate(H5P_FILE_ACCESS); }));
  checked(origin, "properties", [&] {
    return H5Pset_libver_bounds(properties.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  });
  // Closing a file of which something is still open is a bug, not a file that stays open.
  checked(
      origin, "properties", [&] { return H5Pset_fclose_degree(properties.get(), H5F_CLOSE_SEMI); });
  // The run directory has a lock of its own, and parallel file systems often lack HDF5's.
  checked(origin, "properties", [&] { return H5Pset_file_locking(properties.get(), false, true); });
  return properties;
}

// Links of a new group lie in its header up to this number, which limn's groups do not reach:
// beyond it HDF5 spends kilobytes on a heap and a tree.
constexpr unsigned kMaxCompactLinks = 24;

Hdf5PropertiesId group_properties(const Hdf5Origin& origin, hid_t kind) {
  Hdf5PropertiesId properties = object_properties(origin, kind);
  checked(origin, "properties", [&] {
    return H5Pset_link_phase_change(properties.get(), kMaxCompactLinks, kMaxCompactLinks - 1);
  });
  return properties;
}

template <typename T>
void write_attribute_of(
    const Hdf5Origin& origin,
    hid_t object,
    const std::string& name,
    const Hdf5TypeId& stored,
    const Hdf5TypeId& memory,
    const Hdf5SpaceId& space,
    const T* values) {
  const Hdf5AttributeId attribute(checked(origin, name, [&] {
    return H5Acreate2(object, name.c_str(), stored.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT);
  }));
  checked(origin, name, [&] { return H5Awrite(attribute.get(), memory.get(), values); });
}

void write_text(
    const Hdf5Origin& origin, hid_t object, const std::string& name, const std::string& text) {
  const Hdf5TypeId type = text_type(origin, H5T_VARIABLE);
  const char* const characters = text.c_str();
  write_attribute_of(origin, object, name, type, type, scalar_space(origin), &characters);
}

void write_fixed_text(
    const Hdf5Origin& origin, hid_t object, const std::string& name, const std::string& text) {
  // With its final NUL: HDF5 has no text without bytes.
  const Hdf5TypeId type = text_type(origin, text.size() + 1);
  write_attribute_of(origin, object, name, type, type, scalar_space(origin), text.c_str());
}

template <typename T>
void write_number(
    const Hdf5Origin& origin, hid_t object, const std::string& name, ElementType type, T value) {
  write_attribute_of(
      origin,
      object,
      name,
      copy_type(origin, type, stored_type),
      copy_type(origin, type, memory_type),
      scalar_space(origin),
      &value);
}

// A type for texts in memory, from the one that they are stored in. Those of fixed length get room
// for a final NUL. The character set stays: HDF5 converts none.
Hdf5TypeId text_type_in_memory(
    const Hdf5Origin& origin, const std::string& what, const Hdf5TypeId& stored) {
  Hdf5TypeId type(checked(origin, what, [&] { return H5Tcopy(stored.get()); }));
  if (H5Tis_variable_str(stored.get()) > 0) return type;
  const std::size_t size = H5Tget_size(stored.get());
  checked(origin, what, [&] { return H5Tset_size(type.get(), size + 1); });
  checked(origin, what, [&] { return H5Tset_strpad(type.get(), H5T_STR_NULLTERM); });
  return type;
}

// The two ways in which HDF5 stores texts. `read` reads `count` of them, of a type in memory, to an
// address.
template <typename Read>
std::vector<std::string> read_variable_texts(
    const Hdf5Origin& origin,
    const std::string& what,
    const Hdf5TypeId& type,
    std::size_t count,
    Read read) {
  std::vector<char*> pointers(count);
  checked(origin, what, [&] { return read(type, pointers.data()); });
  std::vector<std::string> texts;
  for (const char* text : pointers)
    texts.emplace_back(text == nullptr ? "" : text);
  const hsize_t extent = count;
  const Hdf5SpaceId space = simple_space(origin, std::span(&extent, 1));
  checked(origin, what, [&] {
    return H5Dvlen_reclaim(type.get(), space.get(), H5P_DEFAULT, pointers.data());
  });
  return texts;
}

template <typename Read>
std::vector<std::string> read_fixed_texts(
    const Hdf5Origin& origin,
    const std::string& what,
    const Hdf5TypeId& type,
    std::size_t count,
    Read read) {
  const std::size_t size = H5Tget_size(type.get());
  std::string characters(count * size, '\0');
  checked(origin, what, [&] { return read(type, characters.data()); });
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i)
    texts.emplace_back(characters.c_str() + i * size);
  return texts;
}

template <typename Read>
std::vector<std::string> read_texts_of(
    const Hdf5Origin& origin,
    const std::string& what,
    const Hdf5TypeId& stored,
    std::size_t count,
    Read read) {
  const Hdf5TypeId type = text_type_in_memory(origin, what, stored);
  return H5Tis_variable_str(type.get()) > 0 ? read_variable_texts(origin, what, type, count, read)
                                            : read_fixed_texts(origin, what, type, count, read);
}

bool is_integer(const Hdf5TypeId& type) {
  // Truth values are enumerations to h5py.
  const H5T_class_t kind = H5Tget_class(type.get());
  return kind == H5T_INTEGER || kind == H5T_ENUM;
}

bool is_text(const Hdf5TypeId& type) {
  return H5Tget_class(type.get()) == H5T_STRING;
}

// The type of an attribute that must have one value, of a type for which `is_right`.
Hdf5TypeId type_of_single(
    const Hdf5Origin& origin,
    const std::string& name,
    const Hdf5AttributeId& attribute,
    bool (*is_right)(const Hdf5TypeId&),
    std::string_view expected) {
  Hdf5TypeId type(checked(origin, name, [&] { return H5Aget_type(attribute.get()); }));
  const Hdf5SpaceId space(checked(origin, name, [&] { return H5Aget_space(attribute.get()); }));
  if (!is_right(type) || H5Sget_simple_extent_npoints(space.get()) != 1) {
    throw DataError(fmt::format("{}: attribute must be {}: {}", origin.file, expected, name));
  }
  return type;
}

}  // namespace

Hdf5Dataset::Hdf5Dataset(Hdf5Origin origin, std::string path, Hdf5DatasetId id)
    : origin_(std::move(origin)),
      path_(std::move(path)),
      id_(std::move(id)) {
  const Hdf5SpaceId space(checked(origin_, path_, [&] { return H5Dget_space(id_.get()); }));
  const int rank = checked(origin_, path_, [&] { return H5Sget_simple_extent_ndims(space.get()); });
  if (rank != 1 && rank != 2) {
    throw DataError(
        fmt::format("{}: {} must have one or two dimensions: {}", origin_.file, path_, rank));
  }
  std::array<hsize_t, 2> extents = {0, 1};
  checked(origin_, path_, [&] {
    return H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  });
  rows_ = static_cast<std::int64_t>(extents[0]);
  width_ = static_cast<std::int64_t>(extents[1]);
}

Hdf5TypeId Hdf5Dataset::stored_type() const {
  return Hdf5TypeId(checked(origin_, path_, [&] { return H5Dget_type(id_.get()); }));
}

bool Hdf5Dataset::holds_numbers() const {
  const Hdf5TypeId type = stored_type();
  return is_integer(type) || H5Tget_class(type.get()) == H5T_FLOAT;
}

bool Hdf5Dataset::holds_texts() const {
  return is_text(stored_type());
}

std::int64_t Hdf5Dataset::element_bytes() const {
  return static_cast<std::int64_t>(H5Tget_size(stored_type().get()));
}

void Hdf5Dataset::resize(std::int64_t rows) {
  const std::array<hsize_t, 2> extents = {static_cast<hsize_t>(rows), static_cast<hsize_t>(width_)};
  checked(origin_, path_, [&] { return H5Dset_extent(id_.get(), extents.data()); });
  rows_ = rows;
}

Hdf5SpaceId Hdf5Dataset::select(RowRange rows) const {
  Hdf5SpaceId space(checked(origin_, path_, [&] { return H5Dget_space(id_.get()); }));
  const std::array<hsize_t, 2> begin = {static_cast<hsize_t>(rows.begin), 0};
  const std::array<hsize_t, 2> count = {
      static_cast<hsize_t>(rows.end - rows.begin), static_cast<hsize_t>(width_)};
  checked(origin_, path_, [&] {
    return H5Sselect_hyperslab(
        space.get(), H5S_SELECT_SET, begin.data(), nullptr, count.data(), nullptr);
  });
  return space;
}

void Hdf5Dataset::write(RowRange rows, ElementType type, const void* values) {
  const hsize_t count = static_cast<hsize_t>((rows.end - rows.begin) * width_);
  const Hdf5SpaceId memory_space = simple_space(origin_, std::span(&count, 1));
  const Hdf5SpaceId file_space = select(rows);
  const Hdf5TypeId memory = copy_type(origin_, type, memory_type);
  checked(origin_, path_, [&] {
    return H5Dwrite(
        id_.get(), memory.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, values);
  });
}

void Hdf5Dataset::read(RowRange rows, ElementType type, void* values) const {
  const hsize_t count = static_cast<hsize_t>((rows.end - rows.begin) * width_);
  const Hdf5SpaceId memory_space = simple_space(origin_, std::span(&count, 1));
  const Hdf5SpaceId file_space = select(rows);
  checked(origin_, path_, [&] {
    return H5Dread(
        id_.get(), memory_type(type), memory_space.get(), file_space.get(), H5P_DEFAULT, values);
  });
}

std::vector<std::string> Hdf5Dataset::read_texts(RowRange rows) const {
  const hsize_t count = static_cast<hsize_t>(rows.end - rows.begin);
  const Hdf5SpaceId memory_space = simple_space(origin_, std::span(&count, 1));
  const Hdf5SpaceId file_space = select(rows);
  return read_texts_of(
      origin_, path_, stored_type(), count, [&](const Hdf5TypeId& type, void* texts) {
        return H5Dread(
            id_.get(), type.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, texts);
      });
}

void Hdf5Dataset::write_text_attribute(const std::string& name, const std::string& text) {
  write_fixed_text(origin_, id_.get(), name, text);
}

void Hdf5Dataset::write_dimension_list(std::span<const hobj_ref_t> scales) {
  const Hdf5TypeId type(checked(origin_, path_, [] { return H5Tvlen_create(H5T_STD_REF_OBJ); }));
  std::vector<hobj_ref_t> references(scales.begin(), scales.end());
  std::vector<hvl_t> lists;
  for (hobj_ref_t& reference : references)
    lists.push_back({1, &reference});
  const hsize_t count = lists.size();
  const Hdf5SpaceId space = simple_space(origin_, std::span(&count, 1));
  write_attribute_of(origin_, id_.get(), "DIMENSION_LIST", type, type, space, lists.data());
}

void Hdf5Dataset::write_reference_list(
    std::span<const hobj_ref_t> datasets, std::span<const int> axes) {
  // The layout of HDF5's own dimension scales, whose padding would be whatever was in memory.
  struct Entry {
    hobj_ref_t dataset;
    std::uint32_t axis;
    std::uint32_t padding;
  };

  std::vector<Entry> entries;
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    entries.push_back({datasets[i], static_cast<std::uint32_t>(axes[i]), 0});
  }
  const Hdf5TypeId type(
      checked(origin_, path_, [] { return H5Tcreate(H5T_COMPOUND, sizeof(Entry)); }));
  checked(origin_, path_, [&] {
    return H5Tinsert(type.get(), "dataset", offsetof(Entry, dataset), H5T_STD_REF_OBJ);
  });
  checked(origin_, path_, [&] {
    return H5Tinsert(type.get(), "dimension", offsetof(Entry, axis), H5T_STD_U32LE);
  });
  const hsize_t count = entries.size();
  const Hdf5SpaceId space = simple_space(origin_, std::span(&count, 1));
  write_attribute_of(origin_, id_.get(), "REFERENCE_LIST", type, type, space, entries.data());
}

Hdf5File::Hdf5File(Hdf5Origin origin, Hdf5FileId id)
    : origin_(std::move(origin)),
      id_(std::move(id)) {}

namespace {

// At exit HDF5 1.10 touches files that it could not write and close, and crashes. Here everything
// is closed by its owner, so that nothing is left to do. Has no effect after any other call of
// HDF5, be it hidden in one of its constants.
void forgo_exit_handler() {
  [[maybe_unused]] static const herr_t without_exit_handler = H5dont_atexit();
}

}  // namespace

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  forgo_exit_handler();
  // The system's own words when the file cannot be made; HDF5's are long.
  FileDescriptor(path, O_WRONLY | O_CREAT | O_TRUNC);
  Hdf5Origin origin{path.string(), Hdf5Access::Write};
  const Hdf5PropertiesId creation = group_properties(origin, H5P_FILE_CREATE);
  const Hdf5PropertiesId access = file_access_properties(origin);
  Hdf5FileId id(checked(origin, "the file", [&] {
    return H5Fcreate(origin.file.c_str(), H5F_ACC_TRUNC, creation.get(), access.get());
  }));
  return Hdf5File(std::move(origin), std::move(id));
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  forgo_exit_handler();
  FileDescriptor(path, O_RDONLY);
  Hdf5Origin origin{path.string(), Hdf5Access::Read};
  const Hdf5PropertiesId access = file_access_properties(origin);
  Hdf5FileId id(checked(origin, "the file", [&] {
    return H5Fopen(origin.file.c_str(), H5F_ACC_RDONLY, access.get());
  }));
  return Hdf5File(std::move(origin), std::move(id));
}

std::int64_t Hdf5File::bytes() const {
  hsize_t bytes = 0;
  checked(origin_, "the file", [&] { return H5Fget_filesize(id_.get(), &bytes); });
  return static_cast<std::int64_t>(bytes);
}

bool Hdf5File::has(const std::string& path) const {
  // To HDF5 it is an error to ask within a group that is missing.
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos && !has(path.substr(0, slash))) return false;
  return checked(origin_, path, [&] { return H5Lexists(id_.get(), path.c_str(), H5P_DEFAULT); }) >
         0;
}

void Hdf5File::create_group(const std::string& path) {
  const Hdf5PropertiesId creation = group_properties(origin_, H5P_GROUP_CREATE);
  const Hdf5GroupId group(checked(origin_, path, [&] {
    return H5Gcreate2(id_.get(), path.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT);
  }));
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& path, const DatasetOptions& options) {
  const std::size_t rank = options.width == 1 ? 1 : 2;
  const auto width = static_cast<hsize_t>(options.width);
  const std::array<hsize_t, 2> extents = {0, width};
  const std::array<hsize_t, 2> max_extents = {H5S_UNLIMITED, width};
  const std::array<hsize_t, 2> chunk = {static_cast<hsize_t>(options.chunk_rows), width};

  const Hdf5PropertiesId creation = object_properties(origin_, H5P_DATASET_CREATE);
  const auto set = [&](auto call) { checked(origin_, path, call); };
  set([&] { return H5Pset_chunk(creation.get(), static_cast<int>(rank), chunk.data()); });
  if (options.type != ElementType::Text) {
    set([&] { return H5Pset_shuffle(creation.get()); });
    set([&] { return H5Pset_deflate(creation.get(), options.deflate_level); });
    set([&] { return H5Pset_fletcher32(creation.get()); });
  }

  const Hdf5TypeId type = copy_type(origin_, options.type, stored_type);
  const Hdf5SpaceId space =
      simple_space(origin_, std::span(extents).first(rank), max_extents.data());
  Hdf5DatasetId id(checked(origin_, path, [&] {
    return H5Dcreate2(
        id_.get(), path.c_str(), type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT);
  }));
  return Hdf5Dataset(origin_, path, std::move(id));
}

Hdf5Dataset Hdf5File::create_dimension(const std::string& path, std::int64_t length) {
  const Hdf5PropertiesId creation = object_properties(origin_, H5P_DATASET_CREATE);
  const auto extent = static_cast<hsize_t>(length);
  const Hdf5SpaceId space = simple_space(origin_, std::span(&extent, 1));
  Hdf5DatasetId id(checked(origin_, path, [&] {
    return H5Dcreate2(
        id_.get(),
        path.c_str(),
        H5T_IEEE_F32BE,
        space.get(),
        H5P_DEFAULT,
        creation.get(),
        H5P_DEFAULT);
  }));
  return Hdf5Dataset(origin_, path, std::move(id));
}

Hdf5Dataset Hdf5File::create_text_dataset(
    const std::string& path, std::span<const char* const> values) {
  const Hdf5PropertiesId creation = object_properties(origin_, H5P_DATASET_CREATE);
  const hsize_t extent = values.size();
  const Hdf5SpaceId space = simple_space(origin_, std::span(&extent, 1));
  const Hdf5TypeId type = text_type(origin_, H5T_VARIABLE);
  Hdf5DatasetId id(checked(origin_, path, [&] {
    return H5Dcreate2(
        id_.get(), path.c_str(), type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT);
  }));
  checked(origin_, path, [&] {
    return H5Dwrite(id.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  });
  // Closing would write it, too, but in a destructor, where nobody learns of a full disk.
  checked(origin_, path, [&] { return H5Dflush(id.get()); });
  return Hdf5Dataset(origin_, path, std::move(id));
}

Hdf5Dataset Hdf5File::open_dataset(const std::string& path, std::int64_t cache_bytes) const {
  if (!has(path)) throw DataError(fmt::format("{}: dataset is missing: {}", origin_.file, path));
  const Hdf5PropertiesId access(
      checked(origin_, path, [] { return H5Pcreate(H5P_DATASET_ACCESS); }));
  checked(origin_, path, [&] {
    return H5Pset_chunk_cache(
        access.get(),
        H5D_CHUNK_CACHE_NSLOTS_DEFAULT,
        static_cast<std::size_t>(cache_bytes),
        H5D_CHUNK_CACHE_W0_DEFAULT);
  });
  Hdf5DatasetId id(
      checked(origin_, path, [&] { return H5Dopen2(id_.get(), path.c_str(), access.get()); }));
  return Hdf5Dataset(origin_, path, std::move(id));
}

hobj_ref_t Hdf5File::reference(const std::string& path) const {
  hobj_ref_t reference = 0;
  checked(origin_, path, [&] {
    return H5Rcreate(&reference, id_.get(), path.c_str(), H5R_OBJECT, H5I_INVALID_HID);
  });
  return reference;
}

void Hdf5File::write_attribute(const std::string& name, std::int32_t value) {
  write_number(origin_, id_.get(), name, ElementType::Int32, value);
}

void Hdf5File::write_attribute(const std::string& name, std::uint8_t value) {
  write_number(origin_, id_.get(), name, ElementType::Uint8, value);
}

void Hdf5File::write_text_attribute(const std::string& name, const std::string& text) {
  write_text(origin_, id_.get(), name, text);
}

void Hdf5File::write_fixed_text_attribute(const std::string& name, const std::string& text) {
  write_fixed_text(origin_, id_.get(), name, text);
}

bool Hdf5File::has_attribute(const std::string& name) const {
  return checked(origin_, name, [&] { return H5Aexists(id_.get(), name.c_str()); }) > 0;
}

Hdf5AttributeId Hdf5File::open_attribute(const std::string& name) const {
  if (!has_attribute(name)) {
    throw DataError(fmt::format("{}: attribute is missing: {}", origin_.file, name));
  }
  return Hdf5AttributeId(
      checked(origin_, name, [&] { return H5Aopen(id_.get(), name.c_str(), H5P_DEFAULT); }));
}

std::string Hdf5File::read_text_attribute(const std::string& name) const {
  const Hdf5AttributeId attribute = open_attribute(name);
  const Hdf5TypeId stored = type_of_single(origin_, name, attribute, is_text, "a text");
  const auto read = [&](const Hdf5TypeId& type, void* text) {
    return H5Aread(attribute.get(), type.get(), text);
  };
  return read_texts_of(origin_, name, stored, 1, read).front();
}

std::int32_t Hdf5File::read_integer_attribute(const std::string& name) const {
  const Hdf5AttributeId attribute = open_attribute(name);
  type_of_single(origin_, name, attribute, is_integer, "an integer");
  std::int32_t value = 0;
  checked(origin_, name, [&] { return H5Aread(attribute.get(), H5T_NATIVE_INT32, &value); });
  return value;
}

void Hdf5File::flush() {
  checked(origin_, "the file", [&] { return H5Fflush(id_.get(), H5F_SCOPE_GLOBAL); });
}

void Hdf5File::close() {
  flush();
  checked(origin_, "the file", [&] { return H5Fclose(id_.release()); });
}

}  // namespace limn
