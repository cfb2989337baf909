#include "text/jinja_text.hpp"

#include <algorithm>

#include "text/jinja_unicode.hpp"

namespace stepless::jinja {

Text::Text(std::string bytes, bool from_user)
    : bytes_(std::move(bytes)), chars_(count_chars(bytes_)) {
  if (from_user && !bytes_.empty()) spans_.push_back({0, size()});
}

Text::Text(std::string bytes, std::vector<Span> spans)
    : bytes_(std::move(bytes)), spans_(std::move(spans)), chars_(count_chars(bytes_)) {}

namespace {

/// The first span that ends behind `begin`.
std::vector<Span>::const_iterator first_behind(const std::vector<Span>& spans, std::int64_t begin) {
  return std::partition_point(spans.begin(), spans.end(),
                              [begin](const Span& s) { return s.end <= begin; });
}

}  // namespace

Text Text::slice(std::int64_t begin, std::int64_t end) const {
  std::vector<Span> spans;
  for (auto at = first_behind(spans_, begin); begin < end && at != spans_.end() && at->begin < end;
       ++at)
    spans.push_back({std::max(at->begin, begin) - begin, std::min(at->end, end) - begin});
  Text out(bytes_.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
           std::move(spans));
  out.markup_ = markup_;
  return out;
}

std::int64_t Text::offset(std::int64_t char_index) const {
  return is_ascii() ? char_index : offset_of_char(bytes_, char_index);
}

void TextBuilder::add(std::string_view bytes, bool from_user) {
  const auto count = static_cast<std::int64_t>(bytes.size());
  meter_->grow(count, size() + count);
  if (from_user && count > 0) mark(size(), size() + count);
  bytes_.append(bytes);
}

void TextBuilder::add_slice(const Text& text, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  meter_->grow(end - begin, size() + end - begin);
  const std::vector<Span>& spans = text.user_spans();
  for (auto at = first_behind(spans, begin); at != spans.end() && at->begin < end; ++at)
    mark(size() + std::max(at->begin, begin) - begin, size() + std::min(at->end, end) - begin);
  bytes_.append(text.bytes(), static_cast<std::size_t>(begin),
                static_cast<std::size_t>(end - begin));
}

void TextBuilder::mark(std::int64_t begin, std::int64_t end) {
  if (!spans_.empty() && spans_.back().end == begin)
    spans_.back().end = end;
  else
    spans_.push_back({begin, end});
}

Text TextBuilder::take(bool whole) {
  const bool all = whole && !spans_.empty();
  Text out = all ? Text(std::move(bytes_), true) : Text(std::move(bytes_), std::move(spans_));
  bytes_.clear();
  spans_.clear();
  return out;
}

Text derived(std::string bytes, const Text& source) {
  return Text(std::move(bytes), source.has_user_bytes());
}

}  // namespace stepless::jinja
