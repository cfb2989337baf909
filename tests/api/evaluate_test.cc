// Perplexity and divergence: against sums over the model's own logits, whatever the batch; windows
// as mlx-lm draws them; files and windows that are none.
#include "stepless/evaluate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "api/model_state.hpp"
#include "base/json.hpp"
#include "ops/cpu/cpu_backend.hpp"
#include "runtime/forward.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

ModelOptions small_steps(const std::string& act = "float32", std::int64_t rows = 7) {
  ModelOptions options;
  options.device = "cpu";  // whose backend the definition below runs
  options.act_dtype = act;
  options.threads = 1;
  options.step_rows = rows;
  return options;
}

const Model& draft() {
  static const Model model =
      Model::open(models_dir() + "/tale-draft-4bit", small_steps("auto", 64));
  return model;
}

const std::vector<Window> kWindows = {
    {5, 17, 93, 0, 41, 41, 66, 12, 80, 31, 2}, {1, 2}, {95, 94, 93, 92, 91}, {7, 7, 7}};

/// log p of every token, position by position: the definition.
std::vector<std::vector<double>> log_probabilities(const Model& model, const Window& window) {
  Forward forward(model.state()->loaded, make_cpu_backend(1), 64);
  std::vector<std::vector<double>> all;
  for (std::size_t i = 0; i + 1 < window.size(); ++i) {
    const std::vector<float> logits = forward.append(std::span(&window[i], 1), 1);
    long double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<long double>(x));
    all.emplace_back();
    for (const float x : logits) all.back().push_back(static_cast<double>(x - std::log(sum)));
  }
  return all;
}

TEST(Evaluate, IsTheSumOverTheLogits) {
  const Model model = Model::open(tiny_model().write("sum"), small_steps());
  double sum = 0, squares = 0;
  int count = 0;
  for (const Window& window : kWindows) {
    const auto rows = log_probabilities(model, window);
    for (std::size_t i = 0; i < rows.size(); ++i, ++count) {
      const double nll = -rows[i][static_cast<std::size_t>(window[i + 1])];
      sum += nll;
      squares += nll * nll;
    }
  }
  const Evaluation got = evaluate(model, kWindows);
  EXPECT_EQ(got.windows, 4);
  EXPECT_EQ(got.tokens, 21);
  EXPECT_EQ(got.predictions, 17);
  const double mean = sum / count;
  EXPECT_NEAR(got.mean_nll, mean, 1e-12);
  EXPECT_DOUBLE_EQ(got.perplexity, std::exp(got.mean_nll));
  const double variance = (squares - count * mean * mean) / (count - 1);
  EXPECT_NEAR(got.perplexity_error, std::exp(mean) * std::sqrt(variance / count), 1e-9);
  EXPECT_GT(got.seconds, 0);
  EXPECT_FALSE(got.divergence.has_value());
}

TEST(Evaluate, BatchAndStepsChangeNoBit) {
  const std::string folder = tiny_model().write("batches");
  const Model model = Model::open(folder, small_steps("bfloat16"));
  const Evaluation want = evaluate(model, kWindows);
  for (const std::int64_t batch : {1, 2, 3, 4, 100}) {
    EvaluateOptions options;
    options.batch = batch;
    EXPECT_EQ(evaluate(model, kWindows, options).mean_nll, want.mean_nll) << batch;
    const Model other = Model::open(folder, small_steps("bfloat16", batch));
    EXPECT_EQ(evaluate(other, kWindows, options).perplexity_error, want.perplexity_error) << batch;
  }
}

TEST(Evaluate, ComparesWithAReference) {
  const Model model = Model::open(
      tiny_model({DType::bf16, QuantSpec{Mode::affine, 4, 64}}).write("four"), small_steps());
  const Model reference = Model::open(tiny_model().write("dense"), small_steps("float32", 5));
  double kl = 0, equal = 0;
  std::vector<double> each;
  for (const Window& window : kWindows) {
    const auto q = log_probabilities(model, window), p = log_probabilities(reference, window);
    for (std::size_t i = 0; i < p.size(); ++i) {
      double one = 0;
      for (std::size_t t = 0; t < 96; ++t) one += std::exp(p[i][t]) * (p[i][t] - q[i][t]);
      each.push_back(one);
      kl += one;
      equal += std::max_element(p[i].begin(), p[i].end()) - p[i].begin() ==
               std::max_element(q[i].begin(), q[i].end()) - q[i].begin();
    }
  }
  EvaluateOptions options;
  options.reference = &reference;
  const Evaluation got = evaluate(model, kWindows, options);
  ASSERT_TRUE(got.divergence.has_value());
  EXPECT_NEAR(got.divergence->kl_mean, kl / 17, 1e-12);
  EXPECT_GT(got.divergence->kl_mean, 1e-6);
  std::sort(each.begin(), each.end());
  EXPECT_NEAR(got.divergence->kl_p99, each[15] + 0.84 * (each[16] - each[15]), 1e-12);  // 0.99 * 16
  EXPECT_DOUBLE_EQ(got.divergence->top1_agreement, equal / 17);
  EXPECT_EQ(got.mean_nll, evaluate(model, kWindows).mean_nll);
  options.reference = &model;
  const Evaluation same = evaluate(model, kWindows, options);
  EXPECT_EQ(same.divergence->kl_mean, 0);
  EXPECT_EQ(same.divergence->kl_p99, 0);
  EXPECT_EQ(same.divergence->top1_agreement, 1);
}

TEST(Evaluate, RefusesWhatCannotBeRead) {
  const Model model = Model::open(tiny_model().write("refuses"), small_steps());
  const auto refused = [&](std::string_view words, const std::vector<Window>& windows,
                           const EvaluateOptions& options = {}) {
    expect_error(ErrorCode::invalid_argument, words, [&] { evaluate(model, windows, options); });
  };
  refused("windows: none", {});
  refused("window 1: 1 tokens", {{1, 2}, {1}});
  refused("window 0: 0 tokens", {{}});
  refused("window 0: token 96; tiny-refuses has ids from 0 to 95", {{1, 96}});
  refused("window 1: token -1", {{1, 2}, {-1, 2}});
  refused("the context of tiny-refuses is",
          {Window(static_cast<std::size_t>(model.info().context) + 2)});
  EvaluateOptions none;
  none.batch = 0;
  refused("batch: 0", kWindows, none);
  EvaluateOptions larger;
  larger.reference = &draft();
  refused("the vocabulary of tiny-refuses has 96 tokens, that of tale-draft-4bit 4096", kWindows,
          larger);
}

TEST(Evaluate, LogitsThatAreNotFiniteAreNamed) {
  TinyModel broken = tiny_model();
  Tensor& norm = broken.at("model.norm.weight");
  std::vector<float> values = values_of(norm);
  values[3] = std::nanf("");
  norm = tensor_of(norm.type, norm.shape, values);
  const Model model = Model::open(broken.write("nan"), small_steps());
  expect_error(ErrorCode::corrupt, "window 0, position 0: the logits of tiny-nan are not finite",
               [&] { evaluate(model, kWindows); });
  const Model good = Model::open(tiny_model().write("good"), small_steps());
  EvaluateOptions options;
  options.reference = &model;
  expect_error(ErrorCode::corrupt, "logits of tiny-nan",
               [&] { evaluate(good, kWindows, options); });
}

TEST(Evaluate, StopsWhenTold) {
  const Model model = Model::open(tiny_model().write("stops"), small_steps());
  std::vector<std::int64_t> seen;
  EvaluateOptions options;
  options.progress = [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 17);
    seen.push_back(done);
    return done < 10;
  };
  expect_error(ErrorCode::cancelled, "stopped after 14 of 17",
               [&] { evaluate(model, kWindows, options); });
  EXPECT_EQ(seen, (std::vector<std::int64_t>{7, 14}));
}

// --- windows ---

std::string write_text(const std::string& name, const std::string& text) {
  const std::string path = scratch_dir("evaluate") + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

TEST(ReadWindows, TheOrderIsNumPys) {
  // numpy.random.seed(s); numpy.random.permutation(n): one token per line tells the order.
  const std::vector<std::string> letters = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
  std::string lines;
  std::vector<std::int32_t> ids;
  for (const std::string& letter : letters) {
    lines += OrderedJson{{"text", letter}}.dump() + "\n";
    const auto one = draft().encode(letter, true, true);
    ASSERT_EQ(one.size(), 1u) << letter;
    ids.push_back(one[0]);
  }
  const std::string path = write_text("order.jsonl", lines);
  const std::pair<std::uint32_t, std::vector<std::size_t>> orders[] = {
      {123, {4, 0, 7, 5, 8, 3, 1, 6, 9, 2}}, {0, {2, 8, 4, 9, 1, 6, 7, 3, 0, 5}}};
  for (const auto& [seed, order] : orders) {
    WindowOptions options;
    options.length = 2;  // a letter and EOS
    options.samples = -1;
    options.seed = seed;
    const std::vector<Window> windows = read_windows(draft(), path, options);
    ASSERT_EQ(windows.size(), 10u);
    for (std::size_t i = 0; i < 10; ++i)
      EXPECT_EQ(windows[i], (Window{ids[order[i]], 2})) << seed << " " << i;
  }
}

TEST(ReadWindows, ConcatenatesAndCuts) {
  const std::string path =
      write_text("cut.jsonl", "{\"text\": \"Once upon a time there was a king\"}\n\n \t\r\n");
  WindowOptions options;
  options.length = 4;
  EXPECT_EQ(read_windows(draft(), path, options),
            (std::vector<Window>{{2870, 701, 261, 536}, {447, 310, 261, 648}}))
      << "EOS, the ninth token, is left over";
  options.samples = 1;
  EXPECT_EQ(read_windows(draft(), path, options).size(), 1u);
  options.length = 9;
  EXPECT_EQ(read_windows(draft(), path, options)[0].back(), 2);
  const std::string text = write_text("cut.txt", "Once upon a time there was a king");
  EXPECT_EQ(read_windows(draft(), text, options), read_windows(draft(), path, options));
}

TEST(ReadWindows, ConversationsGoThroughTheTemplate) {
  const std::string question =
      R"([{"role":"user","content":"Why?"},{"role":"assistant","content":"So."}])";
  const std::vector<std::int32_t> want = draft().encode_chat(question, "", false);
  WindowOptions options;
  options.length = static_cast<std::int64_t>(want.size());
  options.samples = 1;
  for (const std::string& line :
       {"{\"messages\": " + question + ", \"id\": 7}",
        std::string(R"({"prompt": "Why?", "completion": "So.", "text": "x"})")}) {
    const std::string path = write_text("chat.jsonl", line);
    EXPECT_EQ(read_windows(draft(), path, options), std::vector<Window>{want}) << line;
    WindowOptions raw = options;
    raw.use_template = false;
    expect_error(ErrorCode::invalid_argument, "chat template",
                 [&] { read_windows(draft(), path, raw); });
  }
}

TEST(ReadWindows, FilesThatHoldNone) {
  const auto refused = [](ErrorCode code, std::string_view words, const std::string& name,
                          const std::string& text) {
    const std::string path = write_text(name, text);
    expect_error(code, words, [&] { read_windows(draft(), path); });
  };
  const ErrorCode invalid = ErrorCode::invalid_argument;
  refused(invalid, "empty.txt: no text in it", "empty.txt", "");
  refused(invalid, "empty.jsonl: no text in it", "empty.jsonl", "\n \n");
  refused(invalid, "one.txt: 2 tokens; a window takes 512", "one.txt", " a");
  refused(invalid, "latin.txt: not valid UTF-8", "latin.txt", "caf\xe9");
  refused(invalid, "data.csv: the name ends neither in .txt nor in .jsonl", "data.csv", "a,b");
  refused(invalid, "key.jsonl:2: no document", "key.jsonl",
          "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n");
  refused(invalid, "list.jsonl:1: no document", "list.jsonl", "[\"text\"]\n");
  refused(invalid, "number.jsonl:1: \"text\" is no string", "number.jsonl", "{\"text\": 3}\n");
  refused(invalid, "object.jsonl:1: \"messages\" is no list", "object.jsonl",
          "{\"messages\": {}}\n");
  refused(ErrorCode::corrupt, "broken.jsonl:2", "broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
  expect_error(ErrorCode::not_found, "absent.txt",
               [] { read_windows(draft(), scratch_dir("evaluate") + "/absent.txt"); });
  WindowOptions shortest;
  shortest.length = 1;
  expect_error(invalid, "sequence length: 1; at least 2",
               [&] { read_windows(draft(), write_text("a.txt", "abc"), shortest); });
  const Model mute = Model::open(tiny_model().write("mute"), small_steps());
  expect_error(ErrorCode::unsupported, "has no tokenizer",
               [&] { read_windows(mute, write_text("b.txt", "abc")); });
}

}  // namespace
}  // namespace stepless::test
