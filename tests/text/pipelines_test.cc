// Every component of tokenizer.json against Hugging Face's library
// (golden/tokenizers/make_pipelines.py).
#include <gtest/gtest.h>

#include "base/json.hpp"
#include "tests/support/paths.hpp"
#include "text/tokenizer.hpp"

namespace stepless {
namespace {

Json patched(Json base, const Json& patch) {
  for (const auto& [key, value] : patch.items()) {
    if (key == "model") {
      base["model"].update(value);
    } else {
      base[key] = value;
    }
  }
  return base;
}

TEST(Pipelines, EqualHuggingFace) {
  const std::string folder = test::golden_dir() + "/tokenizers/";
  const Json golden = read_json(folder + "pipelines.json");
  std::map<std::string, Json> bases;
  for (const char* name : {"llama2", "llama3"})
    bases[name] = read_json(folder + name + "/tokenizer.json");
  ASSERT_GE(golden["pipelines"].size(), 90u);
  for (const Json& pipeline : golden["pipelines"]) {
    SCOPED_TRACE(pipeline["patch"].dump().substr(0, 600));
    const Json file = patched(bases.at(pipeline["base"].get<std::string>()), pipeline["patch"]);
    const Tokenizer tokenizer = Tokenizer::from_json(file, "pipeline");
    for (const Json& c : pipeline["cases"]) {
      const std::string text = golden["texts"][c["text"].get<std::size_t>()].get<std::string>();
      const auto ids = c["ids"].get<std::vector<TokenId>>();
      ASSERT_EQ(tokenizer.encode(text), ids) << text;
      EXPECT_EQ(tokenizer.encode_with_template(text), c.value("template", ids));
      if (c.contains("decoded")) {
        EXPECT_EQ(tokenizer.decode(ids), c["decoded"].get<std::string>());
      }
    }
  }
}

}  // namespace
}  // namespace stepless
