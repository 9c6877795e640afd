#include "go_abi.h"

#include <algorithm>

namespace go_abi {

static constexpr size_t MOST_WORDS = INTEGER_REGISTERS + FLOAT_REGISTERS;

uint64_t align(uint64_t offset, uint64_t alignment) {
    return (offset + alignment - 1) / alignment * alignment;
}

void Shape::add(const Shape &member) {
    alignment = std::max(alignment, member.alignment);
    fits_registers =
        fits_registers && member.fits_registers && words.size() + member.words.size() <= MOST_WORDS;
    if (fits_registers)
        words.insert(words.end(), member.words.begin(), member.words.end());
}

std::optional<Shape> Shape::times(uint64_t count) const {
    if (count > LARGEST_TYPE || size > LARGEST_TYPE / std::max<uint64_t>(count, 1))
        return std::nullopt;
    Shape array = *this;
    array.size = count * size;
    if (count == 0)
        array.words.clear();
    if (count > 1)
        array.fits_registers = false;
    return array;
}

Shape integer(uint64_t size) {
    return {size, std::min(size, WORD), true, std::vector<bool>(align(size, WORD) / WORD, false)};
}

Shape floating(uint64_t size) { return {size, size, true, {true}}; }

Shape complex(uint64_t size) { return {size, size / 2, true, {true, true}}; }

Shape pointer() { return integer(WORD); }

// "Function call argument and result passing".
Layout lay_out(const std::vector<Slot> &slots, bool registers) {
    const uint32_t integers = registers ? INTEGER_REGISTERS : 0;
    const uint32_t floats = registers ? FLOAT_REGISTERS : 0;
    Layout layout;
    uint32_t next_integer = 0, next_float = 0;
    uint64_t stack = 0, spill = 0, needed = 0;
    bool results = false;
    for (const auto &[shape, result] : slots) {
        if (result && !results) {
            results = true;
            stack = align(stack, WORD);
            next_integer = next_float = 0;
        }
        uint32_t wanted_floats =
            static_cast<uint32_t>(std::count(shape.words.begin(), shape.words.end(), true));
        uint32_t wanted_integers = static_cast<uint32_t>(shape.words.size()) - wanted_floats;
        Place place;
        if (shape.size > 0 && shape.fits_registers && next_integer + wanted_integers <= integers &&
            next_float + wanted_floats <= floats) {
            for (bool is_float : shape.words)
                place.registers.push_back(is_float ? FIRST_FLOAT + next_float++ : next_integer++);
            if (!results)
                spill = align(spill, shape.alignment) + shape.size;
        } else {
            stack = align(stack, shape.alignment);
            place.stack_offset = stack;
            stack += shape.size;
        }
        if (!result || place.stack_offset)
            needed += shape.size;
        layout.places.push_back(std::move(place));
    }
    layout.bytes = align(align(stack, WORD) + spill, WORD);
    layout.padding = layout.bytes - needed;
    return layout;
}

} // namespace go_abi
