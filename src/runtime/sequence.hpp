// One request while it lives: its tokens, pages, position and what its listener has been told.
#pragma once
#include <optional>

#include "model/model.hpp"
#include "runtime/kv_table.hpp"
#include "runtime/sampling.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/state_slots.hpp"
#include "text/detokenizer.hpp"

namespace stepless {

struct Sequence {
  std::int64_t id = 0;
  Request request;
  std::function<void(const Event&)> listener;
  SamplingArrays arrays;
  std::vector<std::int32_t> tokens;  // prompt, then what was drawn
  std::int64_t prompt = 0;           // tokens of the prompt
  std::int64_t limit = 0;            // most tokens to draw
  std::int64_t computed = 0, last_turn = 0;
  Phase phase = Phase::waiting;
  KvTable pages;
  KvPages pages_needed;
  StateSlots state;
  std::optional<Detokenizer> detokenizer;
  bool cancelled = false;

  std::int64_t drawn() const { return static_cast<std::int64_t>(tokens.size()) - prompt; }
  SequenceView view() const {
    SequenceView view;
    view.phase = phase;
    view.computed = computed;
    view.known = static_cast<std::int64_t>(tokens.size());
    view.pages = pages_needed.plain;
    view.packed_pages = pages_needed.packed;
    view.last_turn = last_turn;
    return view;
  }
};

/// What the page pools hold, and how sequences use it.
struct KvRoom {
  KvLayout layout;
  KvPages pages;
  std::int64_t step_rows = 1;  // the most positions of one sequence in a step
};

/// Checks the request against the model and the page pools and makes its sequence. Throws Error
/// (invalid_argument).
Sequence make_sequence(const LoadedModel& model, Request request, std::int64_t context,
                       const KvRoom& room);

/// Appends a drawn token, tells the listener, and says whether the sequence is done.
FinishReason accept_token(const LoadedModel& model, Sequence& sequence, std::int32_t token,
                          TokenLogprobs logprobs);

}  // namespace stepless
