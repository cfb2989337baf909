// Prompt cache files that are whole, and every way in which one may lie.
#include "runtime/prompt_cache.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>

#include "format/dtype.hpp"
#include "ops/cpu/cpu_backend.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/random.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<std::int32_t>;

std::shared_ptr<const LoadedModel> load(const TinyModel& tiny, const std::string& name,
                                        std::optional<DType> act = {},
                                        std::optional<Isa> max_isa = {}) {
  LoadOptions options;
  options.act = act;
  options.machine = this_machine(1);
  options.overrides.max_isa = max_isa;
  options.step_rows = 16;
  return load_model(tiny.write(name), options);
}

std::string path() { return scratch_dir("prompt-cache") + "/cache.safetensors"; }

Tokens tokens_of(std::int64_t count) {
  Random random(7);
  Tokens tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random.below(96));
  return tokens;
}

/// A model, and a backend with eight pages of noise.
struct Place {
  explicit Place(std::shared_ptr<const LoadedModel> loaded, std::uint64_t seed = 1)
      : model(std::move(loaded)), backend(make_cpu_backend(1)) {
    backend->prepare(model->program);
    kv.layers = model->program->kv_layers;
    kv.type = model->program->act;
    backend->allocate_kv(kv, 9);
    Random random(seed);
    for (int layer = 0; layer < layers(); ++layer) {
      PageBytes noise = backend->read_pages(layer, all);
      for (auto* part : {&noise.keys, &noise.values})
        for (std::byte& byte : *part) byte = static_cast<std::byte>(random.below(256));
      backend->write_pages(layer, all, noise.keys.data(), noise.values.data());
    }
  }
  int layers() const { return static_cast<int>(kv.layers.size()); }
  void write(std::int64_t tokens) const {
    const std::vector<std::int32_t> pages(all.begin(), all.begin() + tokens / 64);
    write_prompt_cache(path(), *model, *backend, tokens_of(tokens), pages);
  }

  std::shared_ptr<const LoadedModel> model;
  std::unique_ptr<Backend> backend;
  KvShape kv;
  std::vector<std::int32_t> all = {3, 1, 8, 2, 5, 7, 4, 6};
};

const Place& place() {
  static const Place here(load(tiny_model(), "prompt-cache-model"));
  return here;
}

TEST(PromptCacheFile, WhatIsWrittenIsLoaded) {
  for (const std::int64_t count : {1, 63, 64, 65, 200, 256}) {
    SCOPED_TRACE(count);
    place().write(count);
    const PromptCacheFile file(path(), *place().model);
    EXPECT_EQ(file.tokens(), tokens_of(count));
    EXPECT_EQ(file.pages(), count / 64);
    EXPECT_EQ(file.stored_tokens(), count / 64 * 64);
    Place other(place().model, 2);
    const std::vector<std::int32_t> to(other.all.rbegin(), other.all.rbegin() + count / 64);
    file.load(*other.backend, to);
    for (int layer = 0; layer < other.layers(); ++layer) {
      const PageBytes want = place().backend->read_pages(layer, {place().all.data(), to.size()});
      const PageBytes got = other.backend->read_pages(layer, to);
      EXPECT_EQ(got.keys, want.keys);
      EXPECT_EQ(got.values, want.values);
    }
  }
  EXPECT_EQ(fs::status(path()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST(PromptCacheFile, AnotherModelsFileIsRefusedWithBothValues) {
  place().write(100);
  const auto refused = [&](const char* field, const std::string& here, const LoadedModel& model) {
    expect_error(ErrorCode::corrupt, std::string("made with ") + field,
                 [&] { PromptCacheFile(path(), model); });
    expect_error(ErrorCode::corrupt, here, [&] { PromptCacheFile(path(), model); });
  };
  TinyModel tuned = tiny_model();
  tuned.at("model.norm.weight").data[0] ^= std::byte{1};
  refused("model_digest", "(tiny-prompt-cache-model)", *load(tuned, "prompt-cache-tuned"));
  refused("model_digest", "(tiny-prompt-cache-tuned)", *load(tuned, "prompt-cache-tuned"));
  const auto wide = load(tiny_model(), "prompt-cache-model", DType::f32);
  refused("act_dtype", "'bfloat16'", *wide);
  refused("act_dtype", "here it is 'float32'", *wide);
  if (place().model->machine.has(Isa::avx2))
    refused("arithmetic", "here it is 'lanes_f32'",
            *load(tiny_model(), "prompt-cache-model", {}, Isa::cpu));
}

/// A file as its parts, to be changed and written again.
struct Parts {
  explicit Parts(std::int64_t tokens) {
    place().write(tokens);
    const SafetensorsFile file(path());
    metadata = file.metadata();
    for (const auto& [name, view] : file.tensors()) {
      Tensor tensor{{}, view.type, view.shape};
      tensor.data.assign(view.data, view.data + bytes_of(view.shape, view.type, name));
      tensors[name] = std::move(tensor);
    }
  }
  void expect(const std::string& words) const {
    std::vector<NamedView> views;
    for (const auto& [name, tensor] : tensors) views.push_back({name, tensor.view()});
    write_safetensors(path(), views, metadata);
    expect_error(ErrorCode::corrupt, words, [] { PromptCacheFile(path(), *place().model); });
  }

  Metadata metadata;
  std::map<std::string, Tensor> tensors;
};

TEST(PromptCacheFile, FieldsThatDoNotFitAreNamed) {
  const Parts whole(130);
  const auto with = [&](const char* key, const char* value, const std::string& words) {
    Parts parts = whole;
    if (value == nullptr)
      parts.metadata.erase(key);
    else
      parts.metadata[key] = value;
    parts.expect(words);
  };
  with("format", nullptr, "no prompt cache of Stepless (format 'none')");
  with("format", "mlx", "no prompt cache of Stepless (format 'mlx')");
  with("version", "2", "made with version '2'; here it is '1'");
  with("version", nullptr, "made with version 'none'");
  with("kv", "8 bits", "made with kv '8 bits'; here it is 'plain'");
  with("page_tokens", "32", "made with page_tokens '32'; here it is '64'");
  with("checksum", "0", "it says '0'");
}

TEST(PromptCacheFile, TensorsThatDoNotFitAreNamed) {
  const Parts whole(130);
  Parts parts = whole;
  parts.tensors.erase("layers.1.values");
  parts.expect("no tensor 'layers.1.values'");
  parts = whole;
  parts.tensors["layers.2.keys"] = parts.tensors["layers.1.keys"];
  parts.expect("6 tensors; expected 5");
  parts = whole;
  Tensor& keys = parts.tensors["layers.0.keys"];
  std::swap(keys.shape[1], keys.shape[2]);
  parts.expect("tensor 'layers.0.keys'");
  parts = whole;
  parts.tensors["layers.0.keys"].type = DType::f16;
  parts.expect("F16 [2, 2, 64, 16]; expected BF16 [2, 2, 64, 16]");
  parts = whole;  // fewer tokens than the pages are for
  parts.tensors["tokens"].data.resize(100 * 4);
  parts.tensors["tokens"].shape = {100};
  parts.expect("expected BF16 [1, 2, 64, 16]");
  parts = whole;
  parts.tensors["tokens"].type = DType::u32;
  parts.expect("no tensor 'tokens' of type I32");
  parts = whole;
  parts.tensors["tokens"] = {{}, DType::i32, {0}};
  parts.expect("0 tokens; from 1 to");
  parts = whole;
  const std::int64_t many = place().model->context + 1;
  parts.tensors["tokens"] = {
      std::vector<std::byte>(static_cast<std::size_t>(many) * 4), DType::i32, {many}};
  parts.expect(fmt::format("{} tokens; from 1 to {}", many, many - 1));
  for (const std::int32_t token : {-1, 96}) {
    parts = whole;
    std::memcpy(parts.tensors["tokens"].data.data() + 129 * 4, &token, 4);
    parts.expect(fmt::format("token {}; ids are from 0 to 95", token));
  }
}

TEST(PromptCacheFile, EveryChangedBitOfTheDataIsFound) {
  const Parts whole(130);
  Random random(9);
  for (const auto& [name, tensor] : whole.tensors)
    for (int i = 0; i < 20; ++i) {
      Parts parts = whole;
      std::vector<std::byte>& data = parts.tensors[name].data;
      // Low bits of tokens, so that they stay in range.
      const auto at =
          static_cast<std::size_t>(random.below(static_cast<std::int64_t>(data.size() / 4)));
      data[at * 4] ^= std::byte{1};
      parts.expect("damaged: ");
    }
}

TEST(PromptCacheFile, ACutFileIsRefusedWhereverItIsCut) {
  place().write(130);
  const std::string cut = scratch_dir("prompt-cache-cut") + "/cut.safetensors";
  const auto size = static_cast<std::int64_t>(fs::file_size(path()));
  for (std::int64_t at = 0; at < size; at += at < 2048 ? 17 : 977) {
    fs::copy_file(path(), cut, fs::copy_options::overwrite_existing);
    fs::resize_file(cut, static_cast<std::uintmax_t>(at));
    expect_error(ErrorCode::corrupt, "cut.safetensors",
                 [&] { PromptCacheFile(cut, *place().model); });
  }
  expect_error(ErrorCode::not_found, "no-such-file",
               [&] { PromptCacheFile("no-such-file", *place().model); });
}

TEST(PromptCacheFile, AFileCutWhileInUseIsAnError) {
  place().write(256);
  const PromptCacheFile file(path(), *place().model);
  fs::resize_file(path(), 4096);
  Place other(place().model, 2);
  expect_error(ErrorCode::corrupt, "cache.safetensors", [&] {
    file.load(*other.backend, {other.all.data(), 4});
  });
}

/// A limit on the size of files stands in for a full disk.
TEST(PromptCacheFile, AFullDiskLeavesTheOldFileAndNothingElse) {
  place().write(64);
  const auto files = [] {
    const fs::directory_iterator folder(fs::path(path()).parent_path());
    return std::distance(fs::begin(folder), fs::end(folder));
  };
  ASSERT_EQ(files(), 1);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t bytes : {0, 100, 20000}) {
    const rlimit small{bytes, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_error(ErrorCode::exhausted, "cache.safetensors", [] { place().write(256); });
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(files(), 1);
    EXPECT_EQ(PromptCacheFile(path(), *place().model).pages(), 1);
  }
  std::signal(SIGXFSZ, handler);
}

TEST(PromptCacheFile, AFolderThatIsNotThereIsAnError) {
  const std::string file = scratch_dir("prompt-cache-gone") + "/absent/c";
  expect_error(ErrorCode::exhausted, file, [&] {
    write_prompt_cache(file, *place().model, *place().backend, tokens_of(5), {});
  });
}

}  // namespace
}  // namespace stepless::test
