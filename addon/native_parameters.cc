#include "native_parameters.h"

#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "symbols.h"

using namespace dwarf;

namespace native {

static constexpr size_t MOST_PARAMETERS = 256;
static constexpr unsigned MOST_LINKS = 8;
static constexpr uint64_t LANGUAGE_RUST = 0x1c;
static constexpr uint64_t CONVENTION_NOCALL = 3;

static constexpr const char *CONSTANT = "the compiler has replaced it by a constant";
static constexpr const char *GONE = "the compiler has optimised it away at the function's start";
static constexpr const char *CHANGED =
    "the compiler has changed how the function is called, and does not say where it is";

ParameterReader::ParameterReader(const std::vector<const ElfFile *> &files, const Index &index,
                                 TypeReader &types)
    : reader_(types.reader()), index_(index), types_(types) {
    for (const ElfFile *file : files)
        read_symbols(*file);
}

void ParameterReader::read_symbols(const ElfFile &elf) {
    for (uint32_t table : {SHT_SYMTAB, SHT_DYNSYM})
        if (std::optional<SymbolTable> symbols = SymbolTable::load(elf, table))
            symbols->for_each([&](const Symbol &symbol) {
                if (symbol.type != STT_FUNC)
                    return;
                Linkage &linkage = linkage_[symbol.address];
                linkage.is_global = linkage.is_global || symbol.binding != STB_LOCAL;
                for (std::string_view mark : {".isra.", ".constprop.", ".part."})
                    if (symbol.name.find(mark) != std::string_view::npos)
                        linkage.is_clone = true;
            });
}

static const char *language_of(uint64_t language) {
    switch (language) {
    case 0x01: // C89, C, C99, C11, C17
    case 0x02:
    case 0x0c:
    case 0x1d:
    case 0x2c:
        return "c";
    case 0x04: // C++, C++03, 11, 14, 17, 20
    case 0x19:
    case 0x1a:
    case 0x21:
    case 0x2a:
    case 0x2b:
        return "c++";
    case LANGUAGE_RUST:
        return "rust";
    default:
        return "other";
    }
}

// An attribute of the entry, or of what it is an instance of.
static std::optional<Attribute> attribute_of(const Reader &reader, Entry entry, uint16_t name) {
    for (unsigned i = 0; i < MOST_LINKS; i++) {
        if (const Attribute *found = entry.find(name))
            return *found;
        std::optional<uint64_t> link = entry.number(AT_ABSTRACT_ORIGIN, Class::REFERENCE);
        if (!link)
            link = entry.number(AT_SPECIFICATION, Class::REFERENCE);
        const Unit *unit = link ? reader.unit_of(*link) : nullptr;
        if (!unit)
            break;
        reader.read(*unit, *link, entry);
    }
    return std::nullopt;
}

static uint64_t type_of(const Reader &reader, const Entry &entry) {
    std::optional<Attribute> type = attribute_of(reader, entry, AT_TYPE);
    if (!type)
        return NO_TYPE;
    return type->kind == Class::REFERENCE ? type->number : ELSEWHERE;
}

// Those of the function itself, and where it is an instance of another, what that one has besides:
// an instance may have lost some.
std::vector<ParameterReader::Argument> ParameterReader::arguments(const Unit &unit,
                                                                  const Entry &function,
                                                                  uint64_t address, bool is_rust) {
    bool is_cfa = frame_base_is_cfa(function);
    std::vector<Entry> own, original;
    auto collect = [&](uint64_t from, std::vector<Entry> &into) {
        reader_.children(from, [&](const Entry &child) {
            if (child.tag == TAG_FORMAL_PARAMETER)
                into.push_back(child);
            return into.size() < MOST_PARAMETERS;
        });
    };
    collect(function.offset, own);
    if (auto link = function.number(AT_ABSTRACT_ORIGIN, Class::REFERENCE))
        collect(*link, original);
    std::vector<const Entry *> all;
    for (const Entry &entry : own)
        all.push_back(&entry);
    for (size_t i = 0; i < original.size(); i++) {
        auto is_instance = [&](const Entry *entry) {
            return entry->number(AT_ABSTRACT_ORIGIN, Class::REFERENCE) == original[i].offset;
        };
        if (std::none_of(all.begin(), all.end(), is_instance))
            all.insert(all.begin() + static_cast<ptrdiff_t>(std::min(i, all.size())), &original[i]);
    }
    std::vector<Argument> arguments;
    for (const Entry *entry : all) {
        Argument &argument = arguments.emplace_back();
        std::optional<Attribute> name = attribute_of(reader_, *entry, AT_NAME);
        if (name && name->kind == Class::TEXT)
            argument.parameter.name = name->bytes;
        argument.parameter.type = type_of(reader_, *entry);
        argument.entry = entry_location(reader_, unit, *entry, address, is_cfa);
        argument.passing = is_rust ? rust(types_, argument.parameter.type)
                                   : system_v(types_, argument.parameter.type);
    }
    return arguments;
}

// By DWARF's number.
static std::optional<uint32_t> word_of(uint64_t number) {
    static constexpr uint64_t ORDER[] = {5, 4, 1, 2, 8, 9};
    static constexpr uint64_t XMM0 = 17;
    for (uint32_t i = 0; i < INTEGER_ARGUMENTS; i++)
        if (ORDER[i] == number)
            return i;
    if (number >= XMM0 && number < XMM0 + 8)
        return static_cast<uint32_t>(FIRST_FLOAT + number - XMM0);
    return std::nullopt;
}

// Where DWARF says it is; nothing where it says so of no piece.
static std::optional<Place> place_by_dwarf(const EntryLocation &entry, uint64_t size) {
    Place place;
    for (const EntryPiece &piece : entry.pieces) {
        uint64_t bytes = piece.size == 0 ? size : piece.size;
        if (piece.kind == EntryPiece::REGISTER) {
            std::optional<uint32_t> word = word_of(piece.number);
            if (word)
                place.pieces.push_back({piece.offset, std::min<uint64_t>(bytes, 8), *word});
        } else if (piece.kind == EntryPiece::STACK && piece.offset == 0 &&
                   entry.pieces.size() == 1) {
            place.stack_offset = piece.number;
        } else if (piece.kind == EntryPiece::MEMORY && entry.pieces.size() == 1) {
            std::optional<uint32_t> word = word_of(piece.number);
            if (word && *word < INTEGER_ARGUMENTS) {
                place.pieces.push_back({0, 8, *word});
                place.is_address = true;
            }
        }
    }
    if (place.pieces.empty() && !place.stack_offset)
        return std::nullopt;
    return place;
}

static bool is_constant(const EntryLocation &entry) {
    return entry.kind == EntryLocation::PIECES &&
           std::all_of(entry.pieces.begin(), entry.pieces.end(), [](const EntryPiece &piece) {
               return piece.kind == EntryPiece::CONSTANT || piece.kind == EntryPiece::NOWHERE;
           });
}

// Whether what DWARF says of the entry cannot be if the ABI's place is right.
static bool contradicts(const Place &said, const Place &place) {
    if (place.problem)
        return false;
    if (said.stack_offset || place.stack_offset)
        return said.stack_offset != place.stack_offset;
    if (said.is_address != place.is_address)
        return true;
    for (const Piece &piece : said.pieces) {
        auto holds = [&](const Piece &by_abi) {
            return by_abi.reg == piece.reg && by_abi.offset <= piece.offset &&
                   piece.offset < by_abi.offset + by_abi.size;
        };
        if (std::none_of(place.pieces.begin(), place.pieces.end(), holds))
            return true;
    }
    return false;
}

// Before LLVM 18 it was not said that a function of its own lost parameters or its result.
bool ParameterReader::is_old_clang(const Unit &unit) const {
    Entry entry;
    reader_.read(unit, unit.entries, entry);
    std::string producer(entry.text(AT_PRODUCER));
    auto version_after = [&](const char *mark) -> std::optional<std::pair<int, int>> {
        size_t at = producer.find(mark);
        int major = 0, minor = 0;
        if (at == std::string::npos ||
            sscanf(producer.c_str() + at + strlen(mark), "%d.%d", &major, &minor) < 1)
            return std::nullopt;
        return std::pair(major, minor);
    };
    if (auto rustc = version_after("rustc version "))
        return *rustc < std::pair(1, 78);
    if (auto clang = version_after("clang version "))
        return *clang < std::pair(18, 0);
    return false;
}

ParameterReader::Trust ParameterReader::trust(const Unit &unit, const Entry &function,
                                              uint64_t address,
                                              const std::vector<Argument> &arguments) const {
    Trust trust;
    auto known = linkage_.find(address);
    // Without a symbol it may be a copy as well.
    Linkage linkage = known == linkage_.end() ? Linkage{false, true} : known->second;
    std::optional<Attribute> convention = attribute_of(reader_, function, AT_CALLING_CONVENTION);
    bool is_changed = linkage.is_clone || (convention && convention->number == CONVENTION_NOCALL);
    trust.in_abi = trust.in_result = !is_changed;
    trust.in_silence = linkage.is_global && !is_changed;
    if (linkage.is_global || is_changed)
        return trust;
    bool is_plain = std::all_of(arguments.begin(), arguments.end(), [](const Argument &argument) {
        return argument.entry.kind == EntryLocation::HOME;
    });
    // Clang gives functions a frame pointer where it does not optimise.
    const Attribute *frame = function.find(AT_FRAME_BASE);
    constexpr uint8_t RBP = 0x56;
    is_plain = is_plain && frame && frame->kind == Class::BLOCK && frame->bytes.size() == 1 &&
               static_cast<uint8_t>(frame->bytes[0]) == RBP;
    if (is_old_clang(unit) && !is_plain)
        trust.in_abi = trust.in_result = false;
    return trust;
}

static void place_argument(Parameter &parameter, const EntryLocation &entry, const Place &by_abi,
                           uint64_t size, bool in_abi, bool in_silence) {
    std::optional<Place> said = place_by_dwarf(entry, size);
    bool is_late = entry.kind != EntryLocation::PIECES;
    auto refuse = [&](const char *why) { parameter.place = Place::unknown(why); };
    if (by_abi.is_empty)
        return refuse(by_abi.problem);
    if (is_constant(entry))
        return refuse(CONSTANT);
    if (said && !is_late) {
        bool agrees = !by_abi.problem && !contradicts(*said, by_abi);
        // The ABI knows also the parts that the function does not use.
        parameter.place = in_abi && agrees ? by_abi : *said;
        return;
    }
    if (by_abi.problem)
        return refuse(by_abi.problem);
    if (!in_abi)
        return refuse(entry.kind == EntryLocation::UNSAID ? GONE : CHANGED);
    // Code that is not optimised uses a caller's copy where it is, once its prologue is over.
    bool is_still_there = said && said->is_address && !contradicts(*said, by_abi);
    if (entry.kind == EntryLocation::UNSAID && !in_silence && !is_still_there)
        return refuse(GONE);
    parameter.place = by_abi;
}

std::optional<Function> ParameterReader::function(uint64_t address) {
    std::optional<uint64_t> offset = index_.function(address);
    const Unit *unit = offset ? reader_.unit_of(*offset) : nullptr;
    if (!unit)
        return std::nullopt;
    Entry entry;
    reader_.read(*unit, *offset, entry);
    Function function;
    function.language = language_of(unit->language);
    // Without a mangled name it most likely is an extern "C" function.
    bool is_rust = unit->language == LANGUAGE_RUST &&
                   attribute_of(reader_, entry, AT_LINKAGE_NAME).has_value();
    std::vector<Argument> arguments = this->arguments(*unit, entry, address, is_rust);
    uint64_t result_type = type_of(reader_, entry);
    Passing result = is_rust ? rust(types_, result_type) : system_v(types_, result_type);
    std::vector<Passing> passings;
    for (const Argument &argument : arguments)
        passings.push_back(argument.passing);
    std::vector<Place> places = lay_out(passings, result);
    Trust trust = this->trust(*unit, entry, address, arguments);
    for (size_t i = 0; i < arguments.size(); i++) {
        std::optional<Place> said = place_by_dwarf(arguments[i].entry, passings[i].size);
        if (said && arguments[i].entry.kind == EntryLocation::PIECES &&
            contradicts(*said, places[i]))
            trust = {false, false, false};
    }
    for (size_t i = 0; i < arguments.size(); i++) {
        Parameter &parameter = function.parameters.emplace_back(arguments[i].parameter);
        place_argument(parameter, arguments[i].entry, places[i], passings[i].size, trust.in_abi,
                       trust.in_silence);
        const Type &type = types_.type(parameter.type);
        if (parameter.place.problem)
            parameter.problem = type.problem.empty() ? parameter.place.problem : type.problem;
    }
    if (result_type == NO_TYPE)
        return function;
    Parameter &parameter = function.parameters.emplace_back();
    parameter.type = result_type;
    parameter.is_result = true;
    parameter.place = trust.in_result ? places.back() : Place::unknown(CHANGED);
    const Type &type = types_.type(result_type);
    if (parameter.place.problem)
        parameter.problem = type.problem.empty() ? parameter.place.problem : type.problem;
    return function;
}

} // namespace native
