// One request while it lives: its tokens, pages, position and what its listener has been told.
#pragma once
#include <algorithm>
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
  std::vector<std::int32_t> tokens;  // prompt, what was drawn, and while a step runs `guessed` more
  std::int64_t prompt = 0;           // tokens of the prompt
  std::int64_t limit = 0;            // most tokens to draw
  std::int64_t computed = 0, last_turn = 0;
  std::int64_t underway = 0;  // positions behind those computed that steps in flight compute
  std::int64_t guessed = 0, drafted = 0, accepted = 0;  // draft tokens: now, ever, right
  std::int64_t flight = 0, flight_row = 0;  // the step launched that draws its next token, and at
                                            // which of its sampled rows; 0: none
  Phase phase = Phase::waiting;
  KvTable pages;
  KvPages pages_needed;              // the most of each form at once, from start to end
  std::vector<std::int32_t> shared;  // waiting: known pages that its prompt begins with
  std::int64_t pages_to_find = 0;    // waiting: free pages it needs beside those
  std::int64_t cached = 0;           // tokens of the prompt that were not computed for it
  bool held_back = false;            // waiting: for pages that another sequence is computing
  StateSlots state;
  std::optional<Detokenizer> detokenizer;
  bool cancelled = false;

  std::int64_t known() const { return static_cast<std::int64_t>(tokens.size()) - guessed; }
  std::int64_t drawn() const { return known() - prompt; }
  /// Guesses worth checking: the last token of all is drawn, never guessed.
  std::int64_t drafts(std::int64_t most) const {
    return phase == Phase::decode ? std::min(most, limit - drawn() - 1) : 0;
  }
  /// Whether no step is needed behind the one in flight: that draws the last token.
  bool last_in_flight() const { return flight != 0 && drawn() + 1 >= limit; }
  /// As it will be when the step in flight has landed, if that does not end it. `most_drafts`: how
  /// many tokens may be guessed for one step.
  SequenceView view(std::int64_t most_drafts = 0) const {
    SequenceView view;
    view.phase = phase;
    view.computed = computed + underway;
    view.known = known() + (flight != 0 ? 1 : 0);
    view.pages = pages_to_find;
    view.packed_pages = pages_needed.packed;
    view.last_turn = last_turn;
    view.drafts = drafts(most_drafts);
    view.held_back = held_back;
    return view;
  }
};

/// Takes the guesses off the end of the tokens.
std::vector<std::int32_t> take_guesses(Sequence& sequence);

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

/// Whether drawing this token ends the sequence: a stop token of the model or of the request.
bool ends_sequence(const LoadedModel& model, const Sequence& sequence, std::int32_t token);

/// Appends a drawn token, tells the listener, and says whether the sequence is done.
FinishReason accept_token(const LoadedModel& model, Sequence& sequence, std::int32_t token,
                          TokenLogprobs logprobs);

}  // namespace stepless
