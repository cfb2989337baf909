// stepless::read_windows: a file's documents as ids, in mlx-lm's order, cut into windows.
#include <algorithm>
#include <numeric>
#include <random>

#include "api/model_state.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "stepless/evaluate.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;

using Ids = std::vector<std::int32_t>;

/// numpy.random.seed(seed); numpy.random.permutation(count): Fisher-Yates from the back, each draw
/// 32 bits cut to the bound's bits and drawn again when too large.
std::vector<std::size_t> permutation(std::size_t count, std::uint32_t seed) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 draw(seed);
  for (std::size_t i = count; i-- > 1;) {
    std::size_t mask = i;
    for (const int shift : {1, 2, 4, 8, 16}) mask |= mask >> shift;
    std::size_t j = draw() & mask;
    while (j > i) j = draw() & mask;
    std::swap(order[i], order[j]);
  }
  return order;
}

struct Document {
  std::string text;
  OrderedJson messages;  // null: a text
  OrderedJson tools;
};

std::string string_of(const OrderedJson& line, const char* key, const std::string& what) {
  const OrderedJson& value = line.at(key);
  if (!value.is_string()) fail(ErrorCode::invalid_argument, "{}: \"{}\" is no string", what, key);
  return value.get<std::string>();
}

/// Which of mlx-lm's three kinds a line is; keys beside are left alone, as data sets carry them.
Document document_of(const OrderedJson& line, const std::string& what) {
  Document document;
  if (line.is_object() && line.contains("prompt") && line.contains("completion")) {
    document.messages = OrderedJson::array(
        {{{"role", "user"}, {"content", string_of(line, "prompt", what)}},
         {{"role", "assistant"}, {"content", string_of(line, "completion", what)}}});
  } else if (line.is_object() && line.contains("messages")) {
    document.messages = line["messages"];
    if (!document.messages.is_array())
      fail(ErrorCode::invalid_argument, "{}: \"messages\" is no list", what);
  } else if (line.is_object() && line.contains("text")) {
    document.text = string_of(line, "text", what);
  } else {
    fail(ErrorCode::invalid_argument,
         "{}: no document; an object with \"text\", \"messages\", or \"prompt\" and \"completion\"",
         what);
  }
  if (line.contains("tools")) document.tools = line["tools"];
  return document;
}

std::vector<Document> read_lines(const std::string& path) {
  const std::string all = read_text(path, kMostBytes);
  std::vector<Document> documents;
  std::size_t at = 0;
  for (int number = 1; at < all.size(); ++number) {
    const std::size_t end = std::min(all.find('\n', at), all.size());
    const std::string_view line(all.data() + at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string what = fmt::format("{}:{}", path, number);
    documents.push_back(document_of(parse_ordered_json(line, what), what));
  }
  return documents;
}

std::vector<Document> read_documents(const std::string& path) {
  if (path.ends_with(".jsonl")) return read_lines(path);
  if (!path.ends_with(".txt"))
    fail(ErrorCode::invalid_argument, "{}: the name ends neither in .txt nor in .jsonl", path);
  Document document;
  document.text = read_text(path, kMostBytes);
  if (!is_utf8(document.text)) fail(ErrorCode::invalid_argument, "{}: not valid UTF-8", path);
  if (document.text.empty()) return {};
  return {std::move(document)};
}

/// The token that ends a text: the tokenizer's, or the config's when there is only one.
std::int32_t end_token(const Model& model) {
  const std::string& token = model.state()->loaded->text.eos_token;
  const std::int32_t id = token.empty() ? -1 : model.token_id(token);
  return id >= 0 || model.eos_ids().size() != 1 ? id : model.eos_ids()[0];
}

Ids encode(const Model& model, const Document& document, const WindowOptions& options) {
  if (!document.messages.is_null()) {
    if (!options.use_template)
      fail(ErrorCode::invalid_argument,
           "conversations take the chat template; it is to be ignored");
    OrderedJson variables = OrderedJson::object();
    if (!options.template_variables.empty())
      variables = parse_ordered_json(options.template_variables, "chat template variables");
    if (!document.tools.is_null() && variables.is_object()) variables["tools"] = document.tools;
    return model.encode_chat(document.messages.dump(), variables.dump(), false);
  }
  Ids ids = model.encode(document.text, true, true);
  const std::int32_t end = end_token(model);
  if (end >= 0 && (ids.empty() || ids.back() != end)) ids.push_back(end);
  return ids;
}

void check_options(const WindowOptions& options) {
  if (options.length < 2)
    fail(ErrorCode::invalid_argument, "sequence length: {}; at least 2", options.length);
}

}  // namespace

std::vector<Window> read_windows(const Model& model, const std::string& path,
                                 const WindowOptions& options) {
  check_options(options);
  const std::vector<Document> documents = read_documents(path);
  if (documents.empty()) fail(ErrorCode::invalid_argument, "{}: no text in it", path);
  std::vector<Window> windows;
  Window window;
  std::int64_t tokens = 0;
  for (const std::size_t index : permutation(documents.size(), options.seed))
    for (const std::int32_t id : encode(model, documents[index], options)) {
      ++tokens;
      window.push_back(id);
      if (static_cast<std::int64_t>(window.size()) < options.length) continue;
      windows.push_back(std::move(window));
      window.clear();
      if (static_cast<std::int64_t>(windows.size()) == options.samples) return windows;
    }
  if (windows.empty())
    fail(ErrorCode::invalid_argument, "{}: {} tokens; a window takes {}", path, tokens,
         options.length);
  return windows;
}

}  // namespace stepless
