// A qwen3_next so small that tests write it to disk and break it: 4 layers of which the second and
// fourth attend, the second with a plain MLP; hidden 32, 96 tokens, no tokenizer.
#pragma once
#include "tests/support/tiny_model.hpp"

namespace stepless::test {

TinyModel tiny_next_model(DType type = DType::bf16);

}  // namespace stepless::test
