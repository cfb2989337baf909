// Which rows the next step computes. Pure: no tensor, clock or I/O, so its tests are tables.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace stepless {

enum class Phase : std::uint8_t { waiting, prefill, decode };

/// What the scheduler sees of a sequence.
struct SequenceView {
  Phase phase = Phase::waiting;
  std::int64_t computed = 0;  // positions whose keys and values are in the cache
  std::int64_t known = 0;     // tokens there are; known - computed are to be computed (1 in decode)
  std::int64_t pages = 0;     // waiting: free pages it needs before it may start
  std::int64_t last_turn = 0;  // when it was last served, as a count over all rows served
  std::int64_t slots = 0;      // waiting: slots of recurrent state it needs
  std::int64_t drafts = 0;     // decode: guessed tokens it would like to have checked
  bool held_back = false;  // waiting: another sequence is computing pages that this one will share
  std::int64_t packed_pages = 0;  // waiting: pages of the quantized form it needs
};

struct StepLimits {
  std::int64_t rows = 1;          // of one step
  std::int64_t sampled = 1;       // rows of one step whose next token is drawn
  std::int64_t prefill_rows = 1;  // prompt rows of one step
  std::int64_t free_pages = 0;
  std::int64_t free_slots = 0;
  std::int64_t free_packed_pages = 0;
};

struct StepItem {
  std::size_t sequence = 0;           // index into the views
  std::int64_t first = 0, count = 0;  // positions
  bool samples = false;               // the last of them draws the next token
  std::int64_t drafts = 0;            // decode: so many more draw as well, each after a guess
  friend bool operator==(const StepItem&, const StepItem&) = default;
};

struct StepPlan {
  std::vector<std::size_t> admitted;  // waiting sequences that start now, in order of arrival
  std::vector<StepItem> items;
  std::int64_t rows = 0, prompt_rows = 0, sampled = 0;
};

/// `views` are in order of arrival. Decode rows come first, those served longest ago ahead; what is
/// left of the step goes to prompts in order of arrival; a waiting sequence starts when its pages
/// and slots are free, and none takes any before an earlier one: those that one held back will need
/// are put aside for it. Rows that nobody needs go to drafts, one to each in turn: drafts shrink
/// before a sequence waits.
StepPlan plan_step(std::span<const SequenceView> views, const StepLimits& limits);

}  // namespace stepless
