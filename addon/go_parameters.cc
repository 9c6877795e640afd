#include "go_parameters.h"

#include <algorithm>

using namespace dwarf;

using namespace go_abi;

static constexpr size_t MOST_PARAMETERS = 4096;

// DW_ATE_*
static constexpr uint64_t ENCODING_COMPLEX = 3;
static constexpr uint64_t ENCODING_FLOAT = 4;

std::optional<ParameterReader::Shape> ParameterReader::shape_of(uint64_t type, unsigned depth) {
    if (auto known = shapes_.find(type); known != shapes_.end())
        return known->second;
    // A type that holds itself stays unknown.
    shapes_[type] = std::nullopt;
    return shapes_[type] = compute_shape(type, depth);
}

std::optional<ParameterReader::Shape> ParameterReader::compute_shape(uint64_t type,
                                                                     unsigned depth) {
    if (depth > DEEPEST_TYPE)
        return std::nullopt;
    std::optional<Entry> entry = underlying_type(reader_, type);
    if (!entry)
        return std::nullopt;
    uint64_t size = entry->number(AT_BYTE_SIZE, Class::CONSTANT).value_or(0);
    switch (entry->tag) {
    case TAG_POINTER:
    case TAG_SUBROUTINE_TYPE:
    case TAG_REFERENCE:
        return pointer();
    case TAG_STRUCTURE:
        return record_shape(*entry, depth);
    case TAG_ARRAY:
        return array_shape(*entry, depth);
    case TAG_ENUMERATION:
    case TAG_BASE_TYPE: {
        if (size == 0 || size > 2 * WORD)
            return std::nullopt;
        uint64_t encoding = entry->number(AT_ENCODING, Class::CONSTANT).value_or(0);
        if (encoding == ENCODING_COMPLEX)
            return go_abi::complex(size);
        return encoding == ENCODING_FLOAT ? floating(size) : integer(size);
    }
    default:
        return std::nullopt;
    }
}

std::optional<ParameterReader::Shape> ParameterReader::record_shape(const Entry &record,
                                                                    unsigned depth) {
    Shape shape;
    shape.size = record.number(AT_BYTE_SIZE, Class::CONSTANT).value_or(0);
    bool known = shape.size < LARGEST_TYPE;
    reader_.children(record.offset, [&](const Entry &child) {
        if (child.tag != TAG_MEMBER)
            return true;
        std::optional<uint64_t> type = child.number(AT_TYPE, Class::REFERENCE);
        std::optional<Shape> member = type ? shape_of(*type, depth + 1) : std::nullopt;
        known = known && member.has_value();
        if (!known)
            return false;
        shape.add(*member);
        return true;
    });
    return known ? std::optional(shape) : std::nullopt;
}

std::optional<ParameterReader::Shape> ParameterReader::array_shape(const Entry &array,
                                                                   unsigned depth) {
    std::optional<uint64_t> type = array.number(AT_TYPE, Class::REFERENCE);
    std::optional<Shape> element = type ? shape_of(*type, depth + 1) : std::nullopt;
    if (!element)
        return std::nullopt;
    std::optional<uint64_t> count = array_count(reader_, array);
    return count ? element->times(*count) : std::nullopt;
}

std::vector<ParameterReader::Argument>
ParameterReader::read_arguments(const Unit &unit, const Entry &function, uint64_t address) {
    std::vector<Argument> arguments;
    reader_.children(function.offset, [&](const Entry &child) {
        if (child.tag != TAG_FORMAL_PARAMETER)
            return true;
        Argument argument;
        Entry origin = child;
        if (auto link = child.number(AT_ABSTRACT_ORIGIN, Class::REFERENCE))
            if (const Unit *where = reader_.unit_of(*link))
                reader_.read(*where, *link, origin);
        argument.parameter.name = origin.text(AT_NAME);
        argument.parameter.result =
            origin.number(AT_VARIABLE_PARAMETER, Class::CONSTANT).value_or(0) != 0;
        if (auto type = origin.number(AT_TYPE, Class::REFERENCE)) {
            argument.parameter.type = type_name(reader_, *type);
            argument.shape = shape_of(*type, 0);
        }
        if (unit.is_go)
            argument.entry = registers_at_entry(reader_, unit, child, address);
        // Go may list a result twice.
        auto same = [&](const Argument &other) {
            return other.parameter.result && other.parameter.name == argument.parameter.name;
        };
        if (!argument.parameter.result || argument.parameter.name == "_" ||
            std::none_of(arguments.begin(), arguments.end(), same))
            arguments.push_back(std::move(argument));
        return arguments.size() < MOST_PARAMETERS;
    });
    std::stable_partition(arguments.begin(), arguments.end(),
                          [](const Argument &argument) { return !argument.parameter.result; });
    return arguments;
}

// All shapes are known.
ParameterReader::Layout ParameterReader::lay_out(const std::vector<Argument> &arguments,
                                                 bool go_registers) {
    std::vector<go_abi::Slot> slots;
    for (const Argument &argument : arguments)
        slots.push_back({*argument.shape, argument.parameter.result});
    return {go_abi::lay_out(slots, go_registers)};
}

// DWARF's numbers of the registers in the order of the ABI: RAX, RBX, RCX, RDI, RSI, R8 to R11.
static std::optional<uint32_t> go_register(uint64_t number) {
    static constexpr uint64_t ORDER[] = {0, 3, 2, 5, 4, 8, 9, 10, 11};
    static constexpr uint64_t XMM0 = 17;
    for (uint32_t i = 0; i < INTEGER_REGISTERS; i++)
        if (ORDER[i] == number)
            return i;
    if (number >= XMM0 && number < XMM0 + FLOAT_REGISTERS)
        return static_cast<uint32_t>(FIRST_FLOAT + number - XMM0);
    return std::nullopt;
}

bool ParameterReader::contradicts(const Argument &argument, const Place &place) {
    if (!argument.entry || argument.parameter.result)
        return false;
    // In order; pieces without a register are padding, or words that nobody uses.
    size_t word = 0;
    for (const std::optional<uint64_t> &number : *argument.entry) {
        if (!number)
            continue;
        while (word < place.registers.size() && go_register(*number) != place.registers[word])
            word++;
        if (word++ == place.registers.size())
            return true;
    }
    return false;
}

// Layouts that agree with all that is known. DWARF leaves out the dictionary of generic functions,
// and from some Go versions blank parameters of functions that are inlined elsewhere
// (cmd/compile/internal/dwarfgen: createDwarfVars, preInliningDcls), so its list alone would put
// the rest into wrong registers.
std::vector<ParameterReader::Layout>
ParameterReader::possible_layouts(const std::vector<Argument> &arguments, bool go_registers,
                                  bool is_generic, uint64_t address) const {
    std::optional<uint32_t> bytes;
    if (pclntab_)
        bytes = pclntab_->argument_bytes(address);
    std::vector<Layout> layouts;
    auto consider = [&](Layout layout) {
        if (bytes && layout.bytes != *bytes)
            return;
        layout.is_certain = bytes && layout.padding == 0;
        for (size_t i = 0; i < arguments.size(); i++)
            if (contradicts(arguments[i], layout.places[i]))
                return;
        layouts.push_back(std::move(layout));
    };
    consider(lay_out(arguments, go_registers));
    if (!is_generic)
        return layouts;
    Argument dictionary;
    dictionary.shape = pointer();
    // First, or after a method's receiver.
    for (size_t at = 0; at <= std::min<size_t>(arguments.size(), 1); at++) {
        std::vector<Argument> with_dictionary = arguments;
        with_dictionary.insert(with_dictionary.begin() + static_cast<ptrdiff_t>(at), dictionary);
        Layout layout = lay_out(with_dictionary, go_registers);
        layout.places.erase(layout.places.begin() + static_cast<ptrdiff_t>(at));
        consider(std::move(layout));
    }
    return layouts;
}

ParameterReader::Place ParameterReader::place_by_dwarf(const Argument &argument) {
    Place place;
    if (!argument.entry || argument.parameter.result || !argument.shape)
        return place;
    for (const std::optional<uint64_t> &number : *argument.entry)
        if (std::optional<uint32_t> word = number ? go_register(*number) : std::nullopt)
            place.registers.push_back(*word);
    return place.registers.size() == argument.shape->words.size() ? place : Place();
}

std::optional<std::vector<Parameter>> ParameterReader::parameters(uint64_t address) {
    std::optional<uint64_t> offset = index_.function(address);
    const Unit *unit = offset ? reader_.unit_of(*offset) : nullptr;
    if (!unit)
        return std::nullopt;
    Entry function;
    reader_.read(*unit, *offset, function);
    std::vector<Argument> arguments = read_arguments(*unit, function, address);
    bool all_known = std::all_of(arguments.begin(), arguments.end(), [](const Argument &argument) {
        return argument.shape.has_value();
    });
    std::vector<Layout> layouts;
    if (unit->is_go && all_known) {
        bool is_generic = reader_.name_of(function).find("[go.shape.") != std::string::npos;
        layouts = possible_layouts(arguments, unit->go_registers, is_generic, address);
    }
    // A parameter that is missing could hide in the padding; not before one that is where it should
    // be.
    size_t sure = 0;
    bool complete = !function.find(AT_ABSTRACT_ORIGIN);
    for (size_t i = 0; i < arguments.size(); i++)
        if (arguments[i].entry && !arguments[i].parameter.result)
            sure = i + 1;
    std::vector<Parameter> parameters;
    for (size_t i = 0; i < arguments.size(); i++) {
        Place place = place_by_dwarf(arguments[i]);
        bool agreed = !layouts.empty();
        for (const Layout &layout : layouts)
            agreed = agreed && layout.places[i] == layouts[0].places[i] &&
                     (complete || layout.is_certain || i < sure);
        if (agreed)
            place = layouts[0].places[i];
        Parameter &parameter = parameters.emplace_back(std::move(arguments[i].parameter));
        parameter.registers = std::move(place.registers);
        parameter.stack_offset = place.stack_offset;
    }
    return parameters;
}
