// Files that are part of the program: embedded.cpp is made of them by CMake.
#pragma once
#include <string_view>

namespace serve {

extern const std::string_view page_html, openapi_json, version;

}  // namespace serve
