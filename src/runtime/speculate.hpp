// Guesses at the tokens a sequence will draw next. The target checks all of them in one step, and a
// guess counts only if it is the token drawn there anyway: drafts change speed, never a byte
// (house.md, 4.6).
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ops/backend.hpp"
#include "runtime/sequence.hpp"

namespace stepless {

struct DraftTask {
  Sequence* sequence = nullptr;
  std::int64_t most = 0;  // guesses wanted, at least 1; `tokens` has room for them
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Appends up to `most` guesses to the tokens of each sequence and counts them in `guessed`. To
  /// guess nothing is always right. One task per sequence. Returns the predicted floor of what it
  /// computed, in us. Throws Error when it cannot go on; what was appended until then is counted.
  virtual double draft(std::span<const DraftTask> tasks) = 0;
  /// The sequence ends; its pages are free.
  virtual void forget(const Sequence&) {}

  /// Bytes of a page of its own KV cache; 0: it has none.
  virtual std::int64_t page_bytes() const { return 0; }
  /// Makes room for so many pages, page 0 included. Once, before draft(). Throws Error (exhausted).
  virtual void allocate(std::int64_t /*pages*/) {}
  /// Why some sequence had no drafts; empty: nothing to say.
  virtual std::string note() const { return ""; }
};

/// A smaller model that guesses, and the device it runs on.
struct DraftModel {
  std::shared_ptr<const LoadedModel> model;  // null: none
  std::unique_ptr<Backend> backend;
};

/// The drafter that the options ask for; null: none. Throws Error: invalid_argument (options that
/// contradict, vocabularies that differ, naming both models), unsupported, exhausted.
std::unique_ptr<Drafter> make_drafter(std::shared_ptr<const LoadedModel> target,
                                      const EngineOptions& options, DraftModel draft);

/// Appends a guess unless the target could not go on after it: a stop token, an id that the target
/// does not have. False: guess no further.
bool add_guess(const LoadedModel& target, Sequence& sequence, std::int32_t token);

/// What followed the latest earlier place in `tokens` that ends as they end now; the longest such
/// ending counts, up to `longest` tokens. At most `most` tokens; a text that repeats is continued.
std::vector<std::int32_t> look_up(std::span<const std::int32_t> tokens, std::int64_t longest,
                                  std::int64_t most);

}  // namespace stepless
