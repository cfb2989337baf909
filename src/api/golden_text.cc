#include "api/golden_text.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/error.hpp"
#include "base/json.hpp"
#include "text/chat_template.hpp"
#include "text/detokenizer.hpp"
#include "text/tokenizer.hpp"

namespace stepless {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kFixtureClock = 1795165507;  // 2026-11-20 09:05:07, the fixtures' wall clock

/// Names of sets: index.json's, with whether each is optional; without an index, every folder or
/// file there is.
struct Entry {
  std::string name;
  bool optional = false;
};

std::vector<Entry> entries(const std::string& dir, bool folders) {
  std::vector<Entry> all;
  if (fs::exists(dir + "/index.json")) {
    for (const Json& item : read_json(dir + "/index.json"))
      all.push_back({item.at("name").get<std::string>(), item.value("optional", false)});
    return all;
  }
  for (const auto& item : fs::directory_iterator(dir))
    if (folders ? item.is_directory()
                : item.path().extension() == ".json" && item.path().stem() != "inputs")
      all.push_back({item.path().stem().string()});
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return all;
}

/// What a stream releases per token, and at the end; "" when all is as it should be.
std::string check_stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                         const Json& want) {
  Detokenizer stream(tokenizer, {}, false);
  for (std::size_t i = 0; i <= ids.size(); ++i) {
    const std::string piece = i < ids.size() ? stream.push(ids[i]) : stream.finish();
    if (piece != want.at(i).get<std::string>())
      return fmt::format("stream: token {} releases {}; expected {}", i, Json(piece).dump(),
                         want.at(i).dump());
  }
  return "";
}

std::string check_decoded(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                          const std::string& decoded, const std::string& skipping,
                          const Json& item) {
  if (tokenizer.decode(ids) != decoded) return "decoded text differs";
  if (tokenizer.decode(ids, true) != skipping) return "decoded text without special tokens differs";
  return item.contains("stream") ? check_stream(tokenizer, ids, item.at("stream")) : "";
}

std::string check_encode(const Tokenizer& tokenizer, const Json& item, const std::string& text) {
  const auto ids = item.at("ids").get<std::vector<TokenId>>();
  const std::vector<TokenId> got = tokenizer.encode(text);
  if (got != ids) return fmt::format("{} ids; expected {}, or others", got.size(), ids.size());
  std::vector<TokenId> framed = item.value("prefix", std::vector<TokenId>());
  framed.insert(framed.end(), ids.begin(), ids.end());
  if (tokenizer.encode_with_template(text) != framed) return "ids with special tokens differ";
  const std::string decoded = item.value("decoded", text);
  return check_decoded(tokenizer, ids, decoded, item.value("decoded_skip_special", decoded), item);
}

std::string check_decode(const Tokenizer& tokenizer, const Json& item) {
  const auto decoded = item.at("decoded").get<std::string>();
  return check_decoded(tokenizer, item.at("ids").get<std::vector<TokenId>>(), decoded,
                       item.value("decoded_skip_special", decoded), item);
}

void run_tokenizer(const std::string& dir, const Entry& entry, const Json& strings,
                   GoldenReport& report) {
  const std::string name = "tokenizers/" + entry.name;
  const Json cases = read_json(dir + "/" + entry.name + "/cases.json");
  const Json none = Json::array();
  const Json& encode = cases.contains("encode") ? cases.at("encode") : none;
  const Json& decode = cases.contains("decode") ? cases.at("decode") : none;
  const std::size_t count = encode.size() + decode.size();
  std::optional<Tokenizer> tokenizer;
  try {
    tokenizer = Tokenizer::load(dir + "/" + entry.name + "/tokenizer.json");
  } catch (const Error& error) {
    const bool skip = entry.optional || error.code() == ErrorCode::unsupported;
    for (std::size_t i = 0; i < count; ++i)
      skip ? report.skip(name + ": " + error.what()) : report.failure(name + ": " + error.what());
    return;
  }
  std::size_t index = 0;
  for (const Json& item : encode)
    report.run(fmt::format("{} encode {}", name, index++), [&] {
      return check_encode(*tokenizer, item,
                          strings.at(item.at("text").get<std::size_t>()).get<std::string>());
    });
  index = 0;
  for (const Json& item : decode)
    report.run(fmt::format("{} decode {}", name, index++),
               [&] { return check_decode(*tokenizer, item); });
}

/// One input through one template: the text, the message of raise_exception, or that it fails at
/// all.
std::string check_render(const std::string& source, const Json& item,
                         const OrderedJson& variables) {
  std::string text, raised;
  bool failed = false;
  try {
    text = ChatTemplate::parse(source, "template").render(variables, kFixtureClock);
  } catch (const Error& error) {
    failed = true;
    raised = error.what();
  }
  if (item.contains("error")) return failed ? "" : "renders; an error was expected";
  if (item.contains("raised")) {
    const auto want = item.at("raised").get<std::string>();
    if (!failed) return "renders; raise_exception was expected";
    return raised.find(want) != std::string::npos
               ? ""
               : fmt::format("raised \"{}\"; expected \"{}\"", raised, want);
  }
  if (failed) return raised;
  return text == item.at("text").get<std::string>() ? "" : "the text differs";
}

void run_template(const std::string& dir, const Entry& entry, const OrderedJson& inputs,
                  GoldenReport& report) {
  const Json file = read_json(dir + "/" + entry.name + ".json");
  const auto source = file.at("template").get<std::string>();
  for (const Json& item : file.at("cases")) {
    const auto input = item.at("input").get<std::string>();
    OrderedJson variables;
    for (const OrderedJson& candidate : inputs)
      if (candidate.at("name") == input) variables = candidate.at("variables");
    const std::string name = "templates/" + entry.name + " " + input;
    if (!entry.optional) {
      report.run(name, [&] { return check_render(source, item, variables); });
      continue;
    }
    const std::string error = check_render(source, item, variables);
    error.empty() ? report.pass() : report.skip(name + " (optional): " + error);
  }
}

}  // namespace

GoldenReport run_golden_tokenizers(const std::string& dir, const ModelOptions&) {
  GoldenReport report;
  const Json strings = read_json(dir + "/strings.json");
  for (const Entry& entry : entries(dir, true))
    report.guard("tokenizers/" + entry.name, [&] { run_tokenizer(dir, entry, strings, report); });
  return report;
}

GoldenReport run_golden_templates(const std::string& dir, const ModelOptions&) {
  GoldenReport report;
  std::ifstream file(dir + "/inputs.json");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const OrderedJson inputs = parse_ordered_json(text, dir + "/inputs.json");
  for (const Entry& entry : entries(dir, false))
    report.guard("templates/" + entry.name, [&] { run_template(dir, entry, inputs, report); });
  return report;
}

}  // namespace stepless
