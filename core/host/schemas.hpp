// The published schemas of core/abi/schemas, as they stood when this was built.
#pragma once

#include <string_view>

namespace roost::schemas {

extern const std::string_view manifest;

}  // namespace roost::schemas
