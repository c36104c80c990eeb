// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/ids_file.hpp"

#include "cli/exit_status.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::cli::inspect {
namespace {

constexpr std::size_t kMostLineBytes = 4096;
constexpr std::size_t kBufferBytes = 1U << 20;
constexpr std::size_t kMostHeaderBytes = 1U << 16;
constexpr std::string_view kMagic = "\x93NUMPY";
static_assert(std::endian::native == std::endian::little, "ids of npy files are read as they are stored");

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "--ids: '" + path + "' " + why);
}

/// What a message shows of bytes from a file.
std::string shown(std::string_view text) {
  constexpr std::size_t kMost = 24;
  std::string result(text.substr(0, kMost));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.size() > kMost ? result + "..." : result;
}

/// Bytes of a regular file, in order.
class Bytes {
 public:
  explicit Bytes(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "rb"), &std::fclose) {
    if (file_ == nullptr) {
      throw UsageError("--ids: '" + path + "' cannot be read: " + std::strerror(errno));
    }
    if (std::error_code error; !std::filesystem::is_regular_file(path, error)) {
      throw UsageError("--ids: '" + path + "' is no regular file; its tokens are counted before they are read");
    }
  }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  void rewind() { std::rewind(file_.get()); }
  /// Fewer than asked at the end alone.
  std::size_t read(void* destination, std::size_t bytes) {
    const std::size_t count = std::fread(destination, 1, bytes, file_.get());
    if (count < bytes && std::ferror(file_.get()) != 0) {
      fail(path_, std::string("cannot be read: ") + std::strerror(errno));
    }
    return count;
  }

 private:
  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

class TextIds final : public IdsFile {
 public:
  TextIds(Bytes bytes, int num_experts) : bytes_(std::move(bytes)), num_experts_(num_experts), buffer_(kBufferBytes) {
    count_lines();
    bytes_.rewind();
    parse_line();
    top_k_ = static_cast<int>(ids_.size());
    bytes_.rewind();
    begin_ = end_ = 0;
    line_ = 0;
  }
  [[nodiscard]] std::int64_t num_tokens() const noexcept override { return num_tokens_; }
  [[nodiscard]] int top_k() const noexcept override { return top_k_; }
  [[nodiscard]] std::span<const std::int32_t> next(int tokens) override {
    ids_.clear();
    for (int token = 0; token < tokens; ++token) {
      parse_line();
    }
    return ids_;
  }

 private:
  void count_lines() {
    char last = '\n';
    while (const std::size_t count = bytes_.read(buffer_.data(), buffer_.size())) {
      num_tokens_ += std::count(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(count), '\n');
      last = buffer_[count - 1];
    }
    num_tokens_ += last != '\n' ? 1 : 0;
    if (num_tokens_ == 0) {
      fail(bytes_.path(), "is empty; at least 1 token is needed");
    }
  }

  [[noreturn]] void fail_here(const std::string& why) const {
    fail(bytes_.path(), diagnostics::format("line {} (token {}): {}", line_, line_ - 1, why));
  }

  /// Without its end; valid until the next call.
  std::string_view next_line() {
    ++line_;
    for (;;) {
      const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
      const std::size_t size = rest.substr(0, kMostLineBytes + 1).find('\n');
      if (size != std::string_view::npos) {
        begin_ += size + 1;
        return rest.substr(0, size);
      }
      if (rest.size() > kMostLineBytes) {
        fail_here(diagnostics::format("longer than {} bytes; a token has at most {} ids", kMostLineBytes, kMostTopK));
      }
      std::memmove(buffer_.data(), rest.data(), rest.size());
      begin_ = 0;
      end_ = rest.size();
      const std::size_t count = bytes_.read(buffer_.data() + end_, buffer_.size() - end_);
      end_ += count;
      if (count == 0) {  // the last line has no end
        begin_ = end_;
        if (end_ == 0) {
          fail_here("missing; the file has become shorter");
        }
        return {buffer_.data(), end_};
      }
    }
  }

  /// Appends the ids of the next line.
  void parse_line() {
    std::string_view line = next_line();
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    int count = 0;
    std::size_t at = after_blanks(line, 0);
    for (bool more = at < line.size(); more; ++count) {
      const std::size_t end = std::min(line.find_first_of(" \t,", at), line.size());
      append(line.substr(at, end - at), count);
      at = after_blanks(line, end);
      const bool comma = at < line.size() && line[at] == ',';
      at = comma ? after_blanks(line, at + 1) : at;
      more = comma || at < line.size();
    }
    if (count == 0) {
      fail_here(diagnostics::format("0 ids; a token has 1 to {}, -1 for none", kMostTopK));
    }
    if (top_k_ != 0 && count != top_k_) {
      fail_here(diagnostics::format("{} ids; the first line has {}", count, top_k_));
    }
  }

  static std::size_t after_blanks(std::string_view line, std::size_t from) {
    return std::min(line.find_first_not_of(" \t", from), line.size());
  }

  void append(std::string_view word, int position) {
    if (position >= kMostTopK) {
      fail_here(diagnostics::format("more than {} ids; a token has at most that many", kMostTopK));
    }
    std::int64_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    const bool whole = end == word.data() + word.size() && !word.empty();
    if (!whole || error == std::errc::invalid_argument) {
      fail_here(diagnostics::format("id {} is '{}'; it takes an integer", position, shown(word)));
    }
    if (error != std::errc() || id < -1 || id >= num_experts_) {
      fail_here(diagnostics::format("id {} is {}; with {} experts it takes -1 to {}", position, shown(word),
                                    num_experts_, num_experts_ - 1));
    }
    ids_.push_back(static_cast<std::int32_t>(id));
  }

  Bytes bytes_;
  int num_experts_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // of what is unread in the buffer
  std::size_t end_ = 0;
  std::int64_t num_tokens_ = 0;
  std::int64_t line_ = 0;  // the one being read, from 1
  int top_k_ = 0;          // 0: not known yet
  std::vector<std::int32_t> ids_;
};

/// The dictionary of an npy header, a Python literal with exactly three keys.
struct NpyHeader {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> shape;
};

class NpyHeaderParser {
 public:
  NpyHeaderParser(std::string_view text, const std::string& path) : rest_(text), path_(path) {}

  NpyHeader parse() {
    NpyHeader header;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !header.descr) {
        header.descr = quoted();
      } else if (key == "fortran_order" && !header.fortran_order) {
        header.fortran_order = boolean();
      } else if (key == "shape" && !header.shape) {
        header.shape = shape();
      } else {
        refuse("the key '" + shown(key) + "'; it takes descr, fortran_order and shape, once each");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!rest_.empty() || !header.descr || !header.fortran_order || !header.shape) {
      refuse("no dictionary of descr, fortran_order and shape alone");
    }
    return header;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { fail(path_, "has an npy header with " + what); }
  void skip_blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size())); }
  bool accept(char c) {
    skip_blanks();
    const bool there = !rest_.empty() && rest_.front() == c;
    rest_.remove_prefix(there ? 1 : 0);
    return there;
  }
  void expect(char c) {
    if (!accept(c)) {
      refuse(diagnostics::format("'{}' where '{}' belongs", shown(rest_), c));
    }
  }
  std::string quoted() {
    expect('\'');
    const std::size_t size = std::min(rest_.find('\''), rest_.size());
    std::string text(rest_.substr(0, size));
    rest_.remove_prefix(size);
    expect('\'');
    return text;
  }
  bool boolean() {
    skip_blanks();
    for (const std::string_view word : {"True", "False"}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return word == "True";
      }
    }
    refuse(diagnostics::format("fortran_order '{}'; it takes True or False", shown(rest_)));
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      std::int64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0) {
        refuse(diagnostics::format("the shape's size '{}'; it takes 0 to 2^63 - 1", shown(rest_)));
      }
      sizes.push_back(size);
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }

  std::string_view rest_;
  const std::string& path_;
};

class NpyIds final : public IdsFile {
 public:
  NpyIds(Bytes bytes, int num_experts) : bytes_(std::move(bytes)), num_experts_(num_experts) {
    const NpyHeader header = NpyHeaderParser(header_text(), bytes_.path()).parse();
    if (*header.descr != "<i4" && *header.descr != "<i8") {
      fail(bytes_.path(), "has elements of type '" + shown(*header.descr) + "'; it takes '<i4' or '<i8'");
    }
    if (*header.fortran_order) {
      fail(bytes_.path(), "is in Fortran order; it takes C order (numpy.ascontiguousarray)");
    }
    const std::vector<std::int64_t>& shape = *header.shape;
    if (shape.size() != 2) {
      fail(bytes_.path(), diagnostics::format("has {} dimensions; it takes 2: [tokens, top_k]", shape.size()));
    }
    if (shape[1] < 1 || shape[1] > kMostTopK) {
      fail(bytes_.path(), diagnostics::format("has {} ids per token; it takes 1 to {}", shape[1], kMostTopK));
    }
    num_tokens_ = shape[0];
    top_k_ = static_cast<int>(shape[1]);
    id_bytes_ = *header.descr == "<i4" ? 4 : 8;
    check_size();
  }
  [[nodiscard]] std::int64_t num_tokens() const noexcept override { return num_tokens_; }
  [[nodiscard]] int top_k() const noexcept override { return top_k_; }
  [[nodiscard]] std::span<const std::int32_t> next(int tokens) override {
    ids_.resize(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(top_k_));
    stored_.resize(ids_.size() * id_bytes_);
    if (bytes_.read(stored_.data(), stored_.size()) != stored_.size()) {
      fail(bytes_.path(), diagnostics::format("ends before token {}; it has become shorter", next_token_ + tokens));
    }
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      const std::int64_t id = stored_id(i);
      if (id < -1 || id >= num_experts_) {
        fail(bytes_.path(),
             diagnostics::format("token {}: id {} is {}; with {} experts it takes -1 to {}",
                                 next_token_ + static_cast<std::int64_t>(i) / top_k_,
                                 i % static_cast<std::size_t>(top_k_), id, num_experts_, num_experts_ - 1));
      }
      ids_[i] = static_cast<std::int32_t>(id);
    }
    next_token_ += tokens;
    return ids_;
  }

 private:
  /// Reads what is before the data.
  std::string header_text() {
    std::array<unsigned char, 8> start{};
    if (bytes_.read(start.data(), start.size()) != start.size() ||
        std::memcmp(start.data(), kMagic.data(), kMagic.size()) != 0) {
      fail(bytes_.path(), "does not begin like an npy file");
    }
    const int version = start[6];
    if (version < 1 || version > 3 || start[7] != 0) {
      fail(bytes_.path(), diagnostics::format("is of npy version {}.{}; it takes 1.0, 2.0 or 3.0", version, start[7]));
    }
    std::uint32_t size = 0;
    const std::size_t size_bytes = version == 1 ? 2 : 4;
    const bool has_size = bytes_.read(&size, size_bytes) == size_bytes;
    if (has_size && size > kMostHeaderBytes) {
      fail(bytes_.path(), diagnostics::format("has an npy header of {} bytes; at most {}", size, kMostHeaderBytes));
    }
    std::string text(has_size ? size : 0, '\0');
    if (!has_size || bytes_.read(text.data(), size) != size) {
      fail(bytes_.path(), "ends inside its npy header");
    }
    data_offset_ = start.size() + size_bytes + size;
    return text;
  }

  void check_size() const {
    const auto row_bytes = static_cast<std::uintmax_t>(top_k_) * id_bytes_;
    const std::uintmax_t data_bytes = std::filesystem::file_size(bytes_.path()) - data_offset_;
    if (data_bytes % row_bytes != 0 || data_bytes / row_bytes != static_cast<std::uintmax_t>(num_tokens_)) {
      fail(bytes_.path(), diagnostics::format("has {} bytes of data; {} tokens of {} ids of {} bytes do not have that",
                                              data_bytes, num_tokens_, top_k_, id_bytes_));
    }
    if (num_tokens_ == 0) {
      fail(bytes_.path(), "has 0 tokens; at least 1 is needed");
    }
  }

  [[nodiscard]] std::int64_t stored_id(std::size_t index) const {
    if (id_bytes_ == 4) {
      std::int32_t id = 0;
      std::memcpy(&id, &stored_[index * 4], 4);
      return id;
    }
    std::int64_t id = 0;
    std::memcpy(&id, &stored_[index * 8], 8);
    return id;
  }

  Bytes bytes_;
  int num_experts_;
  std::uintmax_t data_offset_ = 0;
  std::int64_t num_tokens_ = 0;
  int top_k_ = 0;
  std::size_t id_bytes_ = 4;
  std::int64_t next_token_ = 0;
  std::vector<std::byte> stored_;
  std::vector<std::int32_t> ids_;
};

}  // namespace

std::unique_ptr<IdsFile> IdsFile::open(const std::string& path, int num_experts) {
  Bytes bytes(path);
  std::array<char, kMagic.size()> start{};
  const std::size_t count = bytes.read(start.data(), start.size());
  bytes.rewind();
  if (path.ends_with(".npy") || std::string_view(start.data(), count) == kMagic) {
    return std::make_unique<NpyIds>(std::move(bytes), num_experts);
  }
  return std::make_unique<TextIds>(std::move(bytes), num_experts);
}

}  // namespace railyard::cli::inspect
