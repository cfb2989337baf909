// Fixtures of text: tokenizers against Hugging Face's library, chat templates against transformers'
// Jinja, samplers against mlx-lm's functions.
#pragma once
#include <string>

#include "base/golden_report.hpp"
#include "stepless/model.hpp"

namespace stepless {

/// dir/NAME/{tokenizer.json,cases.json} with dir/strings.json. The options are not used: text has
/// no device.
GoldenReport run_golden_tokenizers(const std::string& dir, const ModelOptions& options);
/// dir/NAME.json with dir/inputs.json. Optional templates that use what is not there are skipped.
GoldenReport run_golden_templates(const std::string& dir, const ModelOptions& options);
/// dir/samplers.json.
GoldenReport run_golden_samplers(const std::string& dir, const ModelOptions& options);

}  // namespace stepless
