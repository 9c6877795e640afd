// _ZN, components with their lengths, 17h and a hash of 16 digits, E.
#include <algorithm>
#include <vector>

#include "rust_names.h"
#include "utf8.h"

namespace rust {

static bool is_hash(std::string_view component) {
    if (component.size() != 17 || component[0] != 'h')
        return false;
    uint32_t seen = 0;
    for (char digit : component.substr(1)) {
        if (digit >= '0' && digit <= '9')
            seen |= 1u << (digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            seen |= 1u << (digit - 'a' + 10);
        else
            return false;
    }
    // A name of C++ may look like one; a hash has many different digits.
    return __builtin_popcount(seen) >= 5;
}

static bool append_escape(std::string_view escape, std::string &out) {
    static constexpr struct {
        std::string_view code, text;
    } ESCAPES[] = {{"SP", "@"}, {"BP", "*"}, {"RF", "&"}, {"LT", "<"},
                   {"GT", ">"}, {"LP", "("}, {"RP", ")"}, {"C", ","}};
    for (const auto &each : ESCAPES)
        if (escape == each.code) {
            out += each.text;
            return true;
        }
    if (escape.size() < 2 || escape.size() > 7 || escape[0] != 'u')
        return false;
    uint32_t code = 0;
    for (char digit : escape.substr(1)) {
        if (digit >= '0' && digit <= '9')
            code = code * 16 + static_cast<uint32_t>(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            code = code * 16 + static_cast<uint32_t>(digit - 'a' + 10);
        else
            return false;
    }
    return code >= ' ' && append_utf8(code, out);
}

static void append_component(std::string_view component, std::string &out) {
    if (component.substr(0, 2) == "_$")
        component.remove_prefix(1);
    while (!component.empty()) {
        if (component.substr(0, 2) == "..") {
            out += "::";
            component.remove_prefix(2);
            continue;
        }
        if (component[0] == '$') {
            size_t end = component.find('$', 1);
            if (end == std::string_view::npos ||
                !append_escape(component.substr(1, end - 1), out)) {
                out += component;
                return;
            }
            component.remove_prefix(end + 1);
            continue;
        }
        size_t plain = component.find_first_of("$.", 1);
        out += component.substr(0, plain);
        component.remove_prefix(std::min(plain, component.size()));
    }
}

bool demangle_legacy(std::string_view mangled, std::string &out) {
    if (mangled.substr(0, 3) != "_ZN")
        return false;
    // First whether it is one at all: most names that begin like this are of C++.
    size_t at = 3;
    std::vector<std::string_view> components;
    while (at < mangled.size() && mangled[at] != 'E') {
        size_t length = 0;
        size_t start = at;
        while (at < mangled.size() && mangled[at] >= '0' && mangled[at] <= '9' && at - start < 6)
            length = length * 10 + static_cast<size_t>(mangled[at++] - '0');
        if (length == 0 || length > mangled.size() - at)
            return false;
        components.push_back(mangled.substr(at, length));
        at += length;
    }
    bool ends = at < mangled.size() && (at + 1 == mangled.size() || mangled[at + 1] == '.');
    if (!ends || components.size() < 2 || !is_hash(components.back()))
        return false;
    components.pop_back();
    bool is_first = true;
    for (std::string_view component : components) {
        if (!is_first)
            out += "::";
        is_first = false;
        append_component(component, out);
    }
    return true;
}

} // namespace rust
