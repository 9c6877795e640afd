// Names of Rust's functions: the v0 mangling (RFC 2603), and the legacy one that looks like C++.
// Hashes and disambiguators are left out. Bounded as itanium.h is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rust {

// False if it is none; `out` may hold a part of it then.
bool demangle_legacy(std::string_view mangled, std::string &out);
// `steps`: what it took, for a budget.
bool demangle_v0(std::string_view mangled, std::string &out, uint64_t &steps);

// An identifier that has more than ASCII.
bool append_punycode(std::string_view encoded, std::string &out);

} // namespace rust
