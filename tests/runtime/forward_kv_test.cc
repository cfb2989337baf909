// Logits over a quantized and a rotating cache: how a sequence is cut into steps, on how many
// threads, and what was rejected on the way change no bit; what the bits cost is measured.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/json.hpp"
#include "ops/cpu/cpu_backend.hpp"
#include "runtime/forward.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

using Tokens = std::vector<std::int32_t>;

std::shared_ptr<const LoadedModel> load(const char* name, const KvOptions& kv,
                                        std::int64_t step_rows) {
  LoadOptions options;
  options.machine = this_machine(2);
  options.step_rows = step_rows;
  options.kv = kv;
  return load_model(models_dir() + "/" + name, options);
}

KvOptions kv_of(int bits, std::int64_t start, std::int64_t window, std::int64_t max_size = 0) {
  KvOptions options;
  options.bits = bits;
  options.start = start;
  options.window = window;
  options.max_size = max_size;
  return options;
}

Tokens tokens_of(std::size_t count) {
  Random random(21);
  Tokens tokens;
  for (std::size_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<std::int32_t>(3 + random.below(4000)));
  return tokens;
}

/// Logits of the last `last` tokens, `cut` tokens in a step.
std::vector<float> logits_of(const KvOptions& kv, const Tokens& tokens, std::int64_t cut,
                             int threads, std::int64_t last, const char* name = "tale-draft-4bit") {
  Forward forward(load(name, kv, cut), make_cpu_backend(threads), std::ssize(tokens));
  return forward.append(tokens, last);
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(ForwardKv, HowAPromptIsCutChangesNoBit) {
  const Tokens tokens = tokens_of(260);
  for (const KvOptions& kv :
       {kv_of(4, 0, 0), kv_of(8, 64, 0), kv_of(8, 65, 1), kv_of(4, 0, 63), kv_of(8, 63, 64),
        kv_of(4, 0, 65), kv_of(8, 0, 130), kv_of(16, 0, 0, 100), kv_of(16, 0, 0, 69),
        kv_of(4, 0, 20, 100), kv_of(8, 0, 200, 70), kv_of(4, 128, 0, 200)}) {
    SCOPED_TRACE(testing::Message() << kv.bits << " bits, start " << kv.start << ", window "
                                    << kv.window << ", most " << kv.max_size);
    const auto want = logits_of(kv, tokens, 260, 1, 200);
    for (const std::int64_t cut : {1, 63, 64, 65, 100})
      EXPECT_TRUE(same(logits_of(kv, tokens, cut, cut == 64 ? 1 : 2, 200), want)) << cut;
  }
}

TEST(ForwardKv, AStartBeyondThePromptIsTheCacheIn16Bits) {
  const Tokens tokens = tokens_of(200);
  const auto plain = logits_of({}, tokens, 77, 1, 100);
  for (const int bits : {4, 8}) {
    EXPECT_TRUE(same(logits_of(kv_of(bits, 200, 0), tokens, 77, 2, 100), plain));
    EXPECT_TRUE(same(logits_of(kv_of(bits, 0, 200), tokens, 77, 2, 100), plain));
    EXPECT_TRUE(same(logits_of(kv_of(bits, 129, 0), tokens, 77, 2, 100), plain))
        << "the only page from there on is being written";
    EXPECT_FALSE(
        same(logits_of(kv_of(bits, 128, 0), tokens, 77, 2, 1), logits_of({}, tokens, 77, 1, 1)))
        << "page 2 is read packed by positions from 192 on";
  }
  EXPECT_TRUE(same(logits_of(kv_of(16, 0, 0, 200), tokens, 77, 2, 100), plain));
  EXPECT_FALSE(same(logits_of(kv_of(16, 0, 0, 199), tokens, 77, 2, 100), plain));
}

/// Drafts that are not taken: rows beyond a page's end are computed with other tokens, and again
/// with the right ones. The page is packed twice; what counts is the second time.
TEST(ForwardKv, RejectedRowsLeaveNothingBehind) {
  const Tokens tokens = tokens_of(150);
  for (const KvOptions& kv : {kv_of(4, 0, 0), kv_of(8, 0, 3), kv_of(4, 0, 0, 90)}) {
    const auto model = load("tale-draft-4bit", kv, 64);
    const auto vocab = static_cast<std::size_t>(model->program->vocab);
    const KvLayout layout = KvLayout::of(kv_shape(*model->program), kv);
    const auto backend = make_cpu_backend(2);
    backend->prepare(model->program);
    const KvPages need = layout.need(150, 64);
    backend->allocate_kv(kv_shape(*model->program), {need.plain + 1, need.packed + 1});
    KvPool plain(need.plain + 1), packed(need.packed + 1);
    KvTable table;
    table.open(layout, 150, plain.allocate(need.plain), packed.allocate(need.packed));
    std::vector<float> logits(vocab);
    const auto compute = [&](const Tokens& ids, std::int64_t first, std::int64_t count) {
      RowGroup group;
      table.make_ready(layout, first, count);
      for (std::int64_t p = first; p < first + count; ++p) {
        group.tokens.push_back(ids[static_cast<std::size_t>(p)]);
        group.seq.push_back(table.row(layout, p));
      }
      group.sampled = {static_cast<std::int32_t>(count) - 1};
      group.sampling.resize(1);
      group.sampling[0].min_tokens_to_keep = 1;
      group.logits = logits.data();
      backend->collect(backend->launch(group));
    };
    Tokens wrong = tokens;
    for (std::size_t p = 0; p < wrong.size(); ++p) wrong[p] = 4000 - tokens[p] % 3000;
    compute(tokens, 0, 60);
    table.retire(layout, 60);
    for (std::int64_t done = 60; done < 150;) {
      const std::int64_t drafted = std::min<std::int64_t>(9, 150 - done);
      Tokens drafts = tokens;
      std::copy(wrong.begin() + done + 2, wrong.end(), drafts.begin() + done + 2);
      compute(drafts, done, drafted);  // its first two rows are right, the others are not
      done += std::min<std::int64_t>(2, drafted);
      table.retire(layout, done);
      if (done < 150) compute(tokens, done, 1), table.retire(layout, ++done);
    }
    EXPECT_TRUE(same(logits, logits_of(kv, tokens, 64, 1, 1))) << kv.bits;
  }
}

struct Quality {
  double logit_error = 0, nll = 0;
};

double nll_of(const float* logits, std::int64_t vocab, std::int32_t token) {
  double top = -INFINITY, sum = 0;
  for (std::int64_t i = 0; i < vocab; ++i) top = std::max(top, static_cast<double>(logits[i]));
  for (std::int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - top);
  return top + std::log(sum) - static_cast<double>(logits[token]);
}

/// docs/kv-cache.md states what this prints.
TEST(KvError, AgainstTheCacheIn16Bits) {
  constexpr std::int64_t kLength = 1024, kScored = 768;
  // Text of the model's own kind: what it tells itself, greedily, from one token on.
  Tokens tokens = {1};
  const char* name = "tale-4bit";
  Forward teller(load(name, {}, 64), make_cpu_backend(2), kLength);
  Random random(9);
  while (std::ssize(tokens) < kLength) {
    const std::vector<float> next = teller.append(std::span(tokens).last(1), 1);
    // Sampled at temperature 1, so that a loop does not begin.
    double left = random.uniform(), top = -INFINITY, sum = 0;
    for (const float x : next) top = std::max(top, static_cast<double>(x));
    for (const float x : next) sum += std::exp(static_cast<double>(x) - top);
    std::int32_t token = 0;
    for (left *= sum; token + 1 < std::ssize(next); ++token)
      if ((left -= std::exp(static_cast<double>(next[static_cast<std::size_t>(token)]) - top)) < 0)
        break;
    tokens.push_back(token);
  }
  const std::vector<float> plain = logits_of({}, tokens, 256, 2, kScored, name);
  const std::int64_t vocab = std::ssize(plain) / kScored;
  const auto quality = [&](const std::vector<float>& logits) {
    Quality q;
    double error = 0, size = 0;
    for (std::size_t i = 0; i < plain.size(); ++i) {
      error += std::pow(static_cast<double>(logits[i]) - static_cast<double>(plain[i]), 2);
      size += std::pow(static_cast<double>(plain[i]), 2);
    }
    q.logit_error = std::sqrt(error / size);
    for (std::int64_t i = 0; i + 1 < kScored; ++i)
      q.nll += nll_of(logits.data() + i * vocab, vocab,
                      tokens[static_cast<std::size_t>(kLength - kScored + i + 1)]);
    q.nll /= kScored - 1;
    return q;
  };
  const double nll = quality(plain).nll;
  EXPECT_GT(nll, 0.1);
  // The bounds leave a factor of two above what was measured.
  for (const auto& [bits, window, most] :
       {std::tuple{8, 0, 0.02}, {8, 256, 0.02}, {4, 0, 0.3}, {4, 256, 0.2}}) {
    const Quality q = quality(logits_of(kv_of(bits, 0, window), tokens, 256, 2, kScored, name));
    std::printf("kv %d bits, window %3d: logits %.4f relative, mean NLL %.5f (16 bits %.5f)\n",
                bits, window, q.logit_error, q.nll, nll);
    EXPECT_LT(q.logit_error, most);
    EXPECT_LT(std::abs(q.nll - nll), most * nll);
    EXPECT_GT(q.logit_error, 0);
  }
}

}  // namespace
}  // namespace stepless::test
