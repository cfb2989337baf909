// Expecting a stepless::Error: its code, and words its message must hold.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "stepless/error.hpp"

namespace stepless::test {

template <class F>
void expect_error(ErrorCode code, std::string_view words, F&& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(words), std::string_view::npos)
        << "message: " << error.what() << "\nwanted in it: " << words;
    return;
  }
  ADD_FAILURE() << "no Error; expected " << to_string(code) << ": " << words;
}

}  // namespace stepless::test
