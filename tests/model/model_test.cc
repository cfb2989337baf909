// Opening whole folders: the demo, the text files beside the weights, synthetic shapes.
#include "model/model.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/memory.hpp"
#include "ops/plan_program.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;

LoadOptions here(std::int64_t step_rows = 8) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.step_rows = step_rows;
  return options;
}

TEST(LoadModel, TheDemo) {
  const auto model = load_model(models_dir() + "/tale-4bit", here());
  EXPECT_EQ(model->name, "tale-4bit");
  EXPECT_EQ(load_model(models_dir() + "/tale-4bit/", here())->name, "tale-4bit");
  EXPECT_EQ(model->context, 2048);
  EXPECT_EQ(model->program->act, DType::bf16);
  EXPECT_EQ(model->program->vocab, 4096);
  EXPECT_EQ(model->program->kv_layers.size(), 6u);
  EXPECT_EQ(model->program->max_rows, 8);
  EXPECT_TRUE(model->tokenizer.has_value());
  EXPECT_TRUE(model->chat_template.has_value());
  EXPECT_EQ(model->eos_ids, std::vector<TokenId>{2});
  EXPECT_FALSE(model->newline_ids.empty());
  LoadOptions wide = here();
  wide.act = DType::f32;
  EXPECT_EQ(load_model(models_dir() + "/tale-4bit", wide)->program->act, DType::f32);
}

TEST(LoadModel, FoldersAndFilesThatAreNotThere) {
  const std::string gone = scratch_dir("there") + "/gone";
  expect_error(ErrorCode::not_found, "gone: no such folder", [&] { load_model(gone, here()); });
  const std::string folder = tiny_model().write("no-weights");
  fs::remove(folder + "/model.safetensors");
  expect_error(ErrorCode::not_found, folder, [&] { load_model(folder, here()); });
  std::ofstream(folder + "/model.safetensors") << "short";
  expect_error(ErrorCode::corrupt, "model.safetensors", [&] { load_model(folder, here()); });
  fs::remove(folder + "/config.json");
  expect_error(ErrorCode::not_found, "config.json", [&] { load_model(folder, here()); });
}

/// The demo's tokenizer beside a tiny model, with this tokenizer_config.json.
std::shared_ptr<const LoadedModel> with_text(const std::string& name, const std::string& config,
                                             const std::string& wished = "") {
  TinyModel tiny = tiny_model();
  tiny.config["eos_token_id"] = {9, 5, 9};
  const std::string folder = tiny.write(name);
  fs::copy_file(models_dir() + "/tale-4bit/tokenizer.json", folder + "/tokenizer.json",
                fs::copy_options::overwrite_existing);
  std::ofstream(folder + "/tokenizer_config.json") << config;
  LoadOptions options = here();
  options.chat_template = wished;
  return load_model(folder, options);
}

TEST(LoadModel, StopTokensAreSortedWithAndWithoutTokenizer) {
  TinyModel tiny = tiny_model();
  tiny.config["eos_token_id"] = {9, 5, 9, 0};
  EXPECT_EQ(load_model(tiny.write("eos"), here())->eos_ids, (std::vector<TokenId>{0, 5, 9}));
  const auto model = with_text("eos-text", R"({"eos_token":"<|im_end|>"})");
  EXPECT_EQ(model->eos_ids, (std::vector<TokenId>{2, 5, 9}));
  EXPECT_EQ(with_text("eos-object", R"({"eos_token":{"content":"<|im_end|>"}})")->eos_ids,
            (std::vector<TokenId>{2, 5, 9}));
  EXPECT_EQ(with_text("eos-unknown", R"({"eos_token":"<nothing>"})")->eos_ids,
            (std::vector<TokenId>{5, 9}));
}

TEST(LoadModel, ChatTemplates) {
  const auto render = [](const std::shared_ptr<const LoadedModel>& model) {
    return model->chat_template ? model->chat_template->render(OrderedJson::object(), 0) : "none";
  };
  EXPECT_EQ(render(with_text("none", "{}")), "none");
  EXPECT_EQ(render(with_text("null", R"({"chat_template":null})")), "none");
  EXPECT_EQ(render(with_text("plain", R"({"chat_template":"a{{ 1 + 1 }}"})")), "a2");
  const std::string named = R"({"chat_template":[{"name":"tool_use","template":"t"},
                                                 {"name":"default","template":"d"}]})";
  EXPECT_EQ(render(with_text("named", named)), "d");
  EXPECT_EQ(render(with_text("wished", named, "w")), "w");
  expect_error(ErrorCode::corrupt, "chat_template is neither",
               [] { with_text("list", R"({"chat_template":[{"name":"x","template":"t"}]})"); });
  expect_error(ErrorCode::corrupt, "chat_template is neither",
               [] { with_text("number", R"({"chat_template":3})"); });
  expect_error(ErrorCode::corrupt, "not a JSON object", [] { with_text("array", "[]"); });
  EXPECT_THROW(with_text("syntax", R"({"chat_template":"{% if %}"})"), Error);
  expect_error(ErrorCode::corrupt, "tokenizer.json", [] {
    const std::string folder = tiny_model().write("bad-tokenizer");
    std::ofstream(folder + "/tokenizer.json") << "{}";
    load_model(folder, here());
  });
}

TEST(LoadModel, AnEnormousTemplateFileIsRefused) {
  const std::string folder = tiny_model().write("large-template");
  std::ofstream(folder + "/chat_template.jinja") << std::string((1 << 20) + 1, 'x');
  expect_error(ErrorCode::exhausted, "chat_template.jinja: 1048577 bytes; at most 1048576",
               [&] { read_text_config(folder); });
}

TEST(LoadModel, ContextIsChecked) {
  TinyModel tiny = tiny_model();
  for (const Json& bad : {Json(0), Json(-1), Json(1.5), Json("2048")}) {
    tiny.config["max_position_embeddings"] = bad;
    expect_error(ErrorCode::corrupt, "max_position_embeddings is",
                 [&] { load_model(tiny.write("context"), here()); });
  }
  tiny.config.erase("max_position_embeddings");
  EXPECT_EQ(load_model(tiny.write("context"), here())->context, 32768);
}

/// A step's arena is counted before anything is allocated, and overflow is an error.
TEST(LoadModel, EnormousSteps) {
  const std::string folder = tiny_model().write("steps");
  expect_error(ErrorCode::exhausted, "", [&] { load_model(folder, here(INT64_MAX)); });
  const auto model = load_model(folder, here(std::int64_t{1} << 36));
  EXPECT_GT(model->program->arena_bytes, std::int64_t{1} << 40);
  EXPECT_EQ(model->program->max_sampled, 64);
}

TEST(LoadModel, IllegalWishesAreRefused) {
  const std::string folder = tiny_model({DType::bf16, QuantSpec{}}).write("wishes");
  LoadOptions options = here();
  options.overrides.kernel = "qmm_affine_b4_nothing";
  expect_error(ErrorCode::invalid_argument, "qmm_affine_b4_nothing",
               [&] { load_model(folder, options); });
  options = here();
  options.overrides.max_isa = Isa::cpu;
  const auto model = load_model(folder, options);
  for (const Node& node : model->program->nodes)
    for (const auto& plans : node.plans)
      for (const PlanPtr& plan : plans) EXPECT_EQ(plan->kernel->is.isa, Isa::cpu);
}

TEST(SyntheticModel, UnknownNamesListTheKnown) {
  expect_error(ErrorCode::not_found,
               "\"qwen9\"; there are qwen3-0.6b, llama-3.2-3b, qwen3-4b, qwen3-30b-a3b",
               [] { synthetic_model("qwen9", here()); });
  expect_error(ErrorCode::not_found, "there are", [] { synthetic_model("", here()); });
}

TEST(SyntheticModel, RefusesWhatDoesNotFit) {
  // The largest shape takes about 17 GB; only a machine that has less than that free can show it.
  if (available_memory_bytes() / 10 * 9 >= std::int64_t{17} * 1000 * 1000 * 1000)
    GTEST_SKIP() << "enough memory for every shape";
  expect_error(ErrorCode::exhausted, "qwen3-30b-a3b: its weights take",
               [] { synthetic_model("qwen3-30b-a3b", here()); });
}

}  // namespace
}  // namespace stepless::test
