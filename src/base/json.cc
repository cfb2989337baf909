#include "base/json.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "base/error.hpp"
#include "base/quote.hpp"

namespace stepless {
namespace {

// nlohmann's words, without its prefix and without the raw bytes it read last (they may not be
// UTF-8).
std::string plain_reason(std::string text) {
  const std::size_t at = text.find("parse error at ");
  if (at != std::string::npos) text.erase(0, at + std::strlen("parse error at "));
  const std::size_t last = text.find("; last read: ");
  if (last == std::string::npos) return text;
  const std::size_t expected = text.find("; expected ", last);
  text.erase(last, expected == std::string::npos ? std::string::npos : expected - last);
  return text;
}

// Builds the value while nlohmann's iterative parser reads, so that a limit stops the reading
// itself: what it refuses never exists, and neither its copy nor its destructor can overflow a
// stack.
template <class J>
class Builder {
 public:
  using number_integer_t = typename J::number_integer_t;
  using number_unsigned_t = typename J::number_unsigned_t;
  using number_float_t = typename J::number_float_t;
  using string_t = typename J::string_t;
  using binary_t = typename J::binary_t;

  Builder(std::string_view what, int depth) : what_(what), depth_(depth) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(number_integer_t value) { return put(value); }
  bool number_unsigned(number_unsigned_t value) { return put(value); }
  bool number_float(number_float_t value, const string_t&) { return put(value); }
  bool string(string_t& value) { return put(std::move(value)); }
  bool binary(binary_t&) { return false; }  // does not occur in text
  bool start_object(std::size_t) { return open(J::value_t::object); }
  bool start_array(std::size_t) { return open(J::value_t::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(string_t& name) {
    Level& level = levels_.back();
    bool fresh = true;
    auto& object = level.value->template get_ref<typename J::object_t&>();
    if constexpr (kOrdered) {
      // ordered_map looks a key up by walking: a vocabulary would cost its size squared.
      fresh = level.keys.insert(name).second;
      if (fresh) {
        object.push_back({name, J()});
        level.slot = &object.back().second;
      }
    } else {
      const auto [at, inserted] = object.emplace(name, nullptr);
      fresh = inserted;
      level.slot = &at->second;
    }
    if (!fresh)
      fail(ErrorCode::corrupt, "{}: key {} occurs twice in one object; keys are unique", what_,
           in_quotes(name));
    return true;
  }

  template <class Exception>
  bool parse_error(std::size_t at, const std::string& token, const Exception& error) {
    if (error.id == 406)  // a number beyond double
      fail(ErrorCode::corrupt, "{}: not valid JSON: number {} near byte {} is too large", what_,
           in_quotes(token), at);
    fail(ErrorCode::corrupt, "{}: not valid JSON: {}", what_, plain_reason(error.what()));
  }

  J take() { return std::move(root_); }

 private:
  static constexpr bool kOrdered = std::is_same_v<J, OrderedJson>;
  struct NoKeys {};
  struct Level {
    J* value = nullptr;
    J* slot = nullptr;  // where the next value of an object goes
    std::conditional_t<kOrdered, std::unordered_set<std::string>, NoKeys> keys{};
  };

  template <class V>
  J* place(V&& value) {
    if (levels_.empty()) {
      root_ = std::forward<V>(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_array()) {
      auto& array = level.value->template get_ref<typename J::array_t&>();
      array.emplace_back(std::forward<V>(value));
      return &array.back();
    }
    *level.slot = std::forward<V>(value);
    return level.slot;
  }
  template <class V>
  bool put(V&& value) {
    place(std::forward<V>(value));
    return true;
  }
  bool open(typename J::value_t kind) {
    if (static_cast<int>(levels_.size()) >= depth_)
      fail(ErrorCode::corrupt, "{}: JSON nested deeper than {} levels", what_, depth_);
    J* const at = place(J(kind));
    levels_.emplace_back();
    levels_.back().value = at;
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  std::string_view what_;
  int depth_;
  J root_;
  std::vector<Level> levels_;
};

template <class J>
J parse(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (static_cast<std::int64_t>(text.size()) > limits.bytes)
    fail(ErrorCode::exhausted, "{}: {} bytes of JSON; at most {} are read", what, text.size(),
         limits.bytes);
  // nlohmann takes a NUL for the end of the text and would ignore what follows.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail(ErrorCode::corrupt, "{}: not valid JSON: NUL byte at offset {}", what, nul);
  Builder<J> builder(what, limits.depth);
  J::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  return parse<Json>(text, what, limits);
}

OrderedJson parse_ordered_json(std::string_view text, std::string_view what,
                               const JsonLimits& limits) {
  return parse<OrderedJson>(text, what, limits);
}

std::string read_text(const std::string& path, std::int64_t most_bytes) {
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  };
  // O_NONBLOCK: a named pipe would hang in open; it is refused below.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0)
    fail(ErrorCode::not_found, "{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat info {};
  if (::fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode))
    fail(ErrorCode::not_found, "{}: not a regular file", path);
  if (info.st_size > most_bytes)
    fail(ErrorCode::exhausted, "{}: {} bytes; at most {} are read", path, info.st_size, most_bytes);
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::read(file.fd, text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      fail(ErrorCode::corrupt, "{}: only {} of {} bytes could be read", path, have, text.size());
    have += static_cast<std::size_t>(got);
  }
  return text;
}

Json read_json(const std::string& path, const JsonLimits& limits) {
  return parse_json(read_text(path, limits.bytes), path, limits);
}

}  // namespace stepless
