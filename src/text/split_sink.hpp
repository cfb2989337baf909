// Turns the matches of one word into the words they leave, for each behaviour of Hugging Face's
// splits.
#pragma once
#include <vector>

#include "text/pretokenizer.hpp"

namespace stepless {

/// Feed match() in order, then end(). Parts between matches are "other"; with `invert` the two
/// change roles.
class SplitSink {
 public:
  SplitSink(std::vector<TextRange>& out, TextRange word, SplitBehavior behavior, bool invert)
      : out_(out),
        word_(word),
        behavior_(behavior),
        invert_(invert),
        at_(word.begin),
        first_(out.size()) {}

  /// A match inside the word, in the coordinates of the word's text.
  void match(std::size_t begin, std::size_t end) {
    if (at_ != begin) put({at_, begin}, invert_);
    put({begin, end}, !invert_);
    at_ = end;
  }
  void end();

 private:
  void put(TextRange range, bool delimiter);
  void keep(TextRange range) { out_.push_back(range); }
  bool has_previous() const { return out_.size() > first_; }

  std::vector<TextRange>& out_;
  TextRange word_;
  SplitBehavior behavior_;
  bool invert_;
  std::size_t at_, first_;
  bool was_delimiter_ = false;
  bool waiting_ = false;  // merged_with_next: a delimiter whose neighbour is not known yet
};

}  // namespace stepless
