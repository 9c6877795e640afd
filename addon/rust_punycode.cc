#include <algorithm>
#include <cstddef>
#include <vector>

#include "rust_names.h"
#include "utf8.h"

namespace rust {

// RFC 3492, with "_" in place of "-".
bool append_punycode(std::string_view encoded, std::string &out) {
    std::vector<uint32_t> characters;
    size_t delimiter = encoded.rfind('_');
    if (delimiter != std::string_view::npos) {
        for (char character : encoded.substr(0, delimiter))
            characters.push_back(static_cast<uint8_t>(character));
        encoded.remove_prefix(delimiter + 1);
    }
    uint64_t code = 128, at = 0, bias = 72;
    bool is_first = true;
    size_t next = 0;
    // Each character is inserted among those before it.
    constexpr size_t MOST_CHARACTERS = 512;
    while (next < encoded.size()) {
        uint64_t before = at, weight = 1;
        for (uint64_t k = 36;; k += 36) {
            if (next >= encoded.size())
                return false;
            char letter = encoded[next++];
            uint64_t digit;
            if (letter >= 'a' && letter <= 'z')
                digit = static_cast<uint64_t>(letter - 'a');
            else if (letter >= '0' && letter <= '9')
                digit = static_cast<uint64_t>(letter - '0') + 26;
            else
                return false;
            at += digit * weight;
            if (at > UINT32_MAX)
                return false;
            uint64_t threshold = k <= bias ? 1 : std::min<uint64_t>(k - bias, 26);
            if (digit < threshold)
                break;
            weight *= 36 - threshold;
            if (weight > UINT32_MAX)
                return false;
        }
        uint64_t count = characters.size() + 1;
        uint64_t delta = (at - before) / (is_first ? 700 : 2);
        is_first = false;
        delta += delta / count;
        uint64_t k = 0;
        for (; delta > 455; k += 36)
            delta /= 35;
        bias = k + 36 * delta / (delta + 38);
        code += at / count;
        at %= count;
        if (code > 0x10ffff || characters.size() >= MOST_CHARACTERS)
            return false;
        characters.insert(characters.begin() + static_cast<ptrdiff_t>(at++),
                          static_cast<uint32_t>(code));
    }
    for (uint32_t character : characters)
        if (!append_utf8(character, out))
            return false;
    return true;
}

} // namespace rust
