// One character as UTF-8.
#pragma once

#include <cstdint>
#include <string>

inline bool append_utf8(uint32_t code, std::string &out) {
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return false;
    if (code < 0x80) {
        out += static_cast<char>(code);
        return true;
    }
    unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static constexpr uint8_t LEADS[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(LEADS[more] | (code >> (6 * more)));
    while (more-- > 0)
        out += static_cast<char>(0x80 | ((code >> (6 * more)) & 0x3f));
    return true;
}
