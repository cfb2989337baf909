// What makes a checkpoint another one, and what does not.
#include "model/model_digest.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/support/paths.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

std::shared_ptr<const LoadedModel> load(const std::string& folder,
                                        std::optional<Isa> max_isa = {}) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.overrides.max_isa = max_isa;
  options.step_rows = 4;
  return load_model(folder, options);
}

TEST(ModelDigest, ConfigNamesTypesAndBytesOfTensorsCount) {
  const TinyModel tiny = tiny_model();
  const std::string digest = model_digest(*load(tiny.write("digest")));
  EXPECT_EQ(digest.size(), 32u);
  EXPECT_EQ(model_digest(*load(tiny.write("digest-elsewhere"))), digest) << "the folder's name";
  std::set<std::string> seen = {digest};
  TinyModel config = tiny;
  config.config["rope_theta"] = 12345.0;
  EXPECT_TRUE(seen.insert(model_digest(*load(config.write("digest-config")))).second);
  // The first and the last element of every tensor, so a fine-tune of one matrix is another model.
  for (const auto& [name, tensor] : tiny.tensors)
    for (const bool last : {false, true}) {
      TinyModel changed = tiny;
      std::vector<std::byte>& data = changed.at(name).data;
      (last ? data[data.size() - 2] : data[0]) ^= std::byte{1};
      EXPECT_TRUE(seen.insert(model_digest(*load(changed.write("digest-tuned")))).second) << name;
    }
  for (const DType type : {DType::f16, DType::f32})
    EXPECT_TRUE(seen.insert(model_digest(*load(tiny_model({type}).write("digest-type")))).second);
}

TEST(ModelDigest, OtherOrdersOfSummationAreAnotherArithmetic) {
  const std::string folder = tiny_model().write("digest-arithmetic");
  EXPECT_EQ(arithmetic_of(*load(folder, Isa::cpu)), "lanes_f32");
  const auto model = load(folder);
  EXPECT_EQ(model_digest(*model), model_digest(*load(folder, Isa::cpu)));
  if (model->machine.has(Isa::avx2)) {
    EXPECT_NE(arithmetic_of(*model), "lanes_f32");
  }
}

}  // namespace
}  // namespace stepless::test
