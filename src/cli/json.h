// JSON as every command prints it: compact, keys in the documented order.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace bulkhead {

using Json = nlohmann::ordered_json;

/// One line, ending in a line feed. What isn't UTF-8 is replaced, never an exception.
inline std::string json_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace bulkhead
