#include "jump_tables.h"

#include <algorithm>

namespace {

constexpr unsigned MOST_ENTRIES = 512;
// More than any program has; hostile code could otherwise ask for any amount of reading.
constexpr unsigned MOST_TABLES = 1u << 17;
constexpr size_t MOST_ADDRESSES = 16;
// The ABI lets a callee change these: RAX, RCX, RDX, RSI, RDI, R8 to R11.
constexpr uint32_t CHANGED_BY_CALLS = 0x0fc7;
// And makes it keep these: RBX, RBP, R12 to R15.
constexpr uint32_t KEPT_BY_CALLS = 0xf028;

bool lies_in(uint64_t address, const CodeRanges &ranges) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const auto &range) {
        return address >= range.first && address < range.second;
    });
}

// A table's entries up to the first that leads elsewhere, which belongs to something else. The
// first of all must lead into the function, and not to its entry, which tables of functions do.
class Targets {
  public:
    explicit Targets(const CodeRanges &ranges) : ranges_(ranges) {}

    bool add(uint64_t target) {
        if (!lies_in(target, ranges_) || (!first_ && target == ranges_[0].first))
            return false;
        if (!first_)
            first_ = target;
        if (target >= ranges_[0].first && target < ranges_[0].second)
            lowest_ = std::min(lowest_.value_or(target), target);
        return true;
    }
    std::optional<uint64_t> lowest() const { return lowest_ ? lowest_ : first_; }

  private:
    const CodeRanges &ranges_;
    std::optional<uint64_t> first_, lowest_;
};

bool is_wide_register(const ZydisDecodedOperand &operand) {
    return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.size == 64 &&
           general_register(operand.reg.value) != GENERAL_REGISTERS;
}

bool is_address(const RegisterValue &value) { return value.kind == RegisterValue::ADDRESS; }

// The address that a lea or a mov gives to a register; nothing for any other instruction.
std::optional<uint64_t> address_given(const Instruction &instruction, uint64_t address) {
    const ZydisDecodedOperand &to = instruction.operands[0], &from = instruction.operands[1];
    if (to.type != ZYDIS_OPERAND_TYPE_REGISTER || to.size < 32)
        return std::nullopt;
    if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_MOV &&
        from.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        // A negative one is no address; in 32 bits it is none that is extended so.
        if (from.imm.is_signed && from.imm.value.s < 0)
            return std::nullopt;
        return from.imm.value.u;
    }
    ZyanU64 given;
    if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_LEA && from.mem.base == ZYDIS_REGISTER_RIP &&
        ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&instruction.decoded, &from, address, &given)))
        return given;
    return std::nullopt;
}

} // namespace

Bytes TableReader::read(uint64_t table, uint64_t entry_size) {
    return ++tables_ > MOST_TABLES ? Bytes() : elf_.memory_up_to(table, MOST_ENTRIES * entry_size);
}

std::optional<uint64_t> TableReader::pointers(uint64_t table, const CodeRanges &ranges) {
    Bytes bytes = read(table, 8);
    if (bytes.size() < 8)
        return std::nullopt;
    if (!relocations_)
        relocations_ = std::make_unique<Relocations>(elf_);
    Targets targets(ranges);
    for (uint64_t word : relocations_->words(table, bytes.size() / 8))
        if (!targets.add(word))
            break;
    return targets.lowest();
}

std::optional<uint64_t> TableReader::offsets(uint64_t table, const CodeRanges &ranges) {
    Bytes bytes = read(table, 4);
    Cursor cursor(bytes);
    Targets targets(ranges);
    while (cursor.left() >= 4 &&
           targets.add(table + static_cast<uint64_t>(int64_t{cursor.number<int32_t>()})))
        continue;
    return targets.lowest();
}

bool TableReader::is_in_got(uint64_t address) const {
    for (const char *name : {".got", ".got.plt"})
        if (const Section *got = elf_.section(name))
            if (address >= got->address && address - got->address < got->size)
                return true;
    return false;
}

void JumpTables::prepare(const Instruction &instruction, uint64_t address) {
    std::optional<uint64_t> given = address_given(instruction, address);
    bool pops = instruction.decoded.mnemonic == ZYDIS_MNEMONIC_POP; // its caller's value
    for (unsigned i = 0; i < instruction.decoded.operand_count; i++) {
        const ZydisDecodedOperand &operand = instruction.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        unsigned reg = general_register(operand.reg.value);
        if (reg == GENERAL_REGISTERS)
            continue;
        std::vector<uint64_t> &known = addresses_[reg];
        if (given && known.size() < MOST_ADDRESSES)
            known.push_back(*given);
        else if (!pops)
            given_else_ |= 1u << reg;
    }
}

void JumpTables::forget() {
    for (RegisterValue &reg : registers_)
        reg = unknown();
}

RegisterValue JumpTables::of(ZydisRegister reg) const {
    unsigned number = general_register(reg);
    return number < GENERAL_REGISTERS ? registers_[number] : RegisterValue{};
}

void JumpTables::follow(const Instruction &instruction, uint64_t address) {
    const ZydisDecodedInstruction &decoded = instruction.decoded;
    RegisterValue result = computed(instruction, address);
    for (unsigned i = 0; i < decoded.operand_count; i++) {
        const ZydisDecodedOperand &operand = instruction.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        unsigned reg = general_register(operand.reg.value);
        if (reg < GENERAL_REGISTERS)
            registers_[reg] = i == 0 ? result : unknown();
    }
    if (decoded.mnemonic == ZYDIS_MNEMONIC_CALL)
        for (unsigned reg = 0; reg < GENERAL_REGISTERS; reg++)
            if (CHANGED_BY_CALLS >> reg & 1)
                registers_[reg] = unknown();
}

// What the instruction writes to its first operand.
RegisterValue JumpTables::computed(const Instruction &instruction, uint64_t address) {
    const ZydisDecodedOperand &to = instruction.operands[0], &from = instruction.operands[1];
    if (std::optional<uint64_t> given = address_given(instruction, address))
        return {RegisterValue::ADDRESS, *given, false};
    switch (instruction.decoded.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        if (is_wide_register(to) && is_wide_register(from))
            return of(from.reg.value);
        if (to.type == ZYDIS_OPERAND_TYPE_REGISTER && from.type == ZYDIS_OPERAND_TYPE_MEMORY)
            return loaded(from);
        break;
    case ZYDIS_MNEMONIC_MOVSXD:
        if (!is_wide_register(to))
            break;
        if (from.type == ZYDIS_OPERAND_TYPE_MEMORY)
            return loaded(from);
        if (RegisterValue value = of(from.reg.value); value.kind == RegisterValue::OFFSET)
            return value;
        break;
    case ZYDIS_MNEMONIC_CDQE:
        if (registers_[0].kind == RegisterValue::OFFSET)
            return registers_[0];
        break;
    case ZYDIS_MNEMONIC_ADD:
        if (is_wide_register(to) && is_wide_register(from))
            return sum(of(to.reg.value), of(from.reg.value));
        break;
    case ZYDIS_MNEMONIC_LEA:
        if (is_wide_register(to) && from.mem.scale == 1 && from.mem.disp.value == 0)
            return sum(of(from.mem.base), of(from.mem.index));
        break;
    default:
        break;
    }
    return unknown();
}

RegisterValue JumpTables::sum(const RegisterValue &a, const RegisterValue &b) {
    bool first = a.kind == RegisterValue::OFFSET;
    const RegisterValue &offset = first ? a : b, &base = first ? b : a;
    if (offset.kind != RegisterValue::OFFSET || offset.value != base.value)
        return unknown();
    if (!offset.of_unknown && is_address(base))
        return place(reader_.offsets(offset.value, ranges_));
    // Where the table is was decided elsewhere: one of those that the function has.
    if (offset.of_unknown && base.kind == RegisterValue::UNKNOWN)
        return place(any_offsets());
    return unknown();
}

// Of all tables whose addresses the function takes, the lowest address that they lead to.
std::optional<uint64_t> JumpTables::any_offsets() {
    if (any_offsets_)
        return *any_offsets_;
    std::optional<uint64_t> lowest;
    for (const auto &addresses : addresses_)
        for (uint64_t address : addresses)
            if (std::optional<uint64_t> found = reader_.offsets(address, ranges_))
                lowest = std::min(lowest.value_or(*found), *found);
    any_offsets_ = lowest;
    return lowest;
}

RegisterValue JumpTables::loaded(const ZydisDecodedOperand &memory) {
    const auto &mem = memory.mem;
    unsigned size = memory.size / 8;
    // Without an index it is a pointer to anything.
    if (mem.index == ZYDIS_REGISTER_NONE || mem.segment == ZYDIS_REGISTER_FS ||
        mem.segment == ZYDIS_REGISTER_GS)
        return unknown();
    auto displaced = [&](uint64_t address) {
        return address + static_cast<uint64_t>(mem.disp.value);
    };
    if (mem.base == ZYDIS_REGISTER_NONE)
        return mem.scale == size ? loaded_from(displaced(0), size) : unknown();
    RegisterValue base = of(mem.base), index = of(mem.index);
    if (mem.scale == 1 && is_address(base) != is_address(index))
        return loaded_from(displaced(is_address(base) ? base.value : index.value), size);
    if (mem.scale != size)
        return unknown();
    if (is_address(base))
        return loaded_from(displaced(base.value), size);
    if (size == 4 && base.kind == RegisterValue::UNKNOWN && mem.disp.value == 0)
        return {RegisterValue::OFFSET, base.value, true};
    if (size == 8 && base.kind == RegisterValue::UNKNOWN)
        return through_kept_base(general_register(mem.base), mem.disp.value);
    return unknown();
}

RegisterValue JumpTables::loaded_from(uint64_t table, unsigned size) {
    if (size == 8)
        return place(reader_.pointers(table, ranges_));
    return size == 4 ? RegisterValue{RegisterValue::OFFSET, table, false} : unknown();
}

// A loop may use a table whose address was put into a register before it. That is certain only
// of a register that calls keep, and that the function uses for nothing else.
RegisterValue JumpTables::through_kept_base(unsigned base, int64_t displacement) {
    bool kept = base < GENERAL_REGISTERS && (KEPT_BY_CALLS >> base & 1);
    if (!kept || (given_else_ >> base & 1) || addresses_[base].empty() || ranges_.size() > 1)
        return unknown();
    std::optional<uint64_t> lowest;
    for (uint64_t address : addresses_[base]) {
        auto found = reader_.pointers(address + static_cast<uint64_t>(displacement), ranges_);
        if (!found)
            return unknown();
        lowest = std::min(lowest.value_or(*found), *found);
    }
    return place(lowest);
}

std::optional<uint64_t> JumpTables::leads_to(const Instruction &jump) {
    const ZydisDecodedOperand &operand = jump.operands[0];
    RegisterValue value;
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER)
        value = of(operand.reg.value);
    else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.size == 64)
        value = loaded(operand);
    return value.kind == RegisterValue::PLACE ? std::optional(value.value) : std::nullopt;
}
