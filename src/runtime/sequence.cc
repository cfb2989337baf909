#include "runtime/sequence.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace stepless {
namespace {

void check_ids(const std::vector<std::int32_t>& ids, std::int64_t vocab) {
  for (const std::int32_t id : ids)
    if (id < 0 || id >= vocab)
      fail(ErrorCode::invalid_argument, "prompt: token {}; ids are from 0 to {}", id, vocab - 1);
}

void check_room(const Sequence& s, const KvRoom& room) {
  const auto check = [&](const char* form, std::int64_t need, std::int64_t pages) {
    if (need > pages)
      fail(ErrorCode::invalid_argument,
           "prompt: {} tokens and {} to generate need {} {}KV pages of {} tokens; the cache has {}",
           s.prompt, s.limit, need, form, room.layout.page_tokens, pages);
  };
  check("", s.pages_needed.plain, room.pages.plain);
  check("packed ", s.pages_needed.packed, room.pages.packed);
}

}  // namespace

Sequence make_sequence(const LoadedModel& model, Request request, std::int64_t context,
                       const KvRoom& room) {
  const std::int64_t vocab = model.program->vocab;
  Sequence s;
  s.prompt = static_cast<std::int64_t>(request.tokens.size());
  if (s.prompt == 0) fail(ErrorCode::invalid_argument, "prompt: empty; at least one token");
  if (s.prompt >= context)
    fail(ErrorCode::invalid_argument, "prompt: {} tokens leave no room in a context of {}",
         s.prompt, context);
  if (request.max_tokens < 0)
    fail(ErrorCode::invalid_argument, "max_tokens: {}; 0 (until the context ends) or more",
         request.max_tokens);
  check_ids(request.tokens, vocab);
  check_ids(request.extra_eos, vocab);
  check_sampling(request.sampling, vocab);
  if (request.logprobs < 0 || request.logprobs > vocab)
    fail(ErrorCode::invalid_argument, "logprobs: {}; from 0 to {}", request.logprobs, vocab);
  s.limit = context - s.prompt;
  if (request.max_tokens > 0) s.limit = std::min(s.limit, request.max_tokens);
  s.pages_needed = room.layout.need(s.prompt + s.limit, room.step_rows);
  check_room(s, room);
  s.pages_to_find = s.pages_needed.plain;
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    s.arrays.bias_ids.push_back(id);
    s.arrays.bias_values.push_back(bias);
  }
  s.arrays.xtc_exempt = model.newline_ids;
  s.arrays.xtc_exempt.insert(s.arrays.xtc_exempt.end(), model.eos_ids.begin(), model.eos_ids.end());
  s.tokens = request.tokens;
  s.tokens.reserve(static_cast<std::size_t>(s.prompt + s.limit));  // a step must not move them
  if (model.tokenizer)
    s.detokenizer.emplace(*model.tokenizer, request.stop, false);
  else if (!request.stop.empty())
    fail(ErrorCode::unsupported, "stop: the model has no tokenizer; ids can be given as extra_eos");
  s.request = std::move(request);
  return s;
}

bool ends_sequence(const LoadedModel& model, const Sequence& sequence, std::int32_t token) {
  const auto& extra = sequence.request.extra_eos;
  if (std::find(extra.begin(), extra.end(), token) != extra.end()) return true;
  return !sequence.request.ignore_eos &&
         std::binary_search(model.eos_ids.begin(), model.eos_ids.end(), token);
}

std::vector<std::int32_t> take_guesses(Sequence& s) {
  const std::vector<std::int32_t> guesses(s.tokens.end() - s.guessed, s.tokens.end());
  s.tokens.resize(static_cast<std::size_t>(s.known()));
  s.guessed = 0;
  return guesses;
}

FinishReason accept_token(const LoadedModel& model, Sequence& s, std::int32_t token,
                          TokenLogprobs logprobs) {
  s.tokens.push_back(token);
  if (ends_sequence(model, s, token)) return FinishReason::stop;
  Event event;
  event.kind = Event::Kind::token;
  event.token = token;
  event.logprobs = std::move(logprobs);
  if (s.detokenizer) event.text = s.detokenizer->push(token);
  s.listener(event);
  if (s.detokenizer && s.detokenizer->stopped()) return FinishReason::stop;
  return s.drawn() >= s.limit ? FinishReason::length : FinishReason::none;
}

}  // namespace stepless
