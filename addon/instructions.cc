#include "instructions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "instruction_record.h"
#include "jump_tables.h"

using namespace instructions;

namespace {

constexpr unsigned PROLOGUE = 24;
constexpr uint64_t LARGEST_FUNCTION = 16u << 20;
// More than any program's code; overlapping symbols could otherwise ask for any amount of work.
constexpr uint64_t MOST_CODE = uint64_t{1} << 30;

// Go saves the arguments that are in registers right before it calls morestack (cmd/compile,
// ssagen: "spill args"), and so says which there are.
class Spills {
  public:
    void see(const Instruction &instruction, Kind kind) {
        if (kind == NOP || instruction.decoded.mnemonic == ZYDIS_MNEMONIC_NOP)
            return;
        const ZydisDecodedOperand &to = instruction.operands[0], &from = instruction.operands[1];
        bool stores = to.type == ZYDIS_OPERAND_TYPE_MEMORY && to.mem.base == ZYDIS_REGISTER_RSP &&
                      to.mem.index == ZYDIS_REGISTER_NONE &&
                      from.type == ZYDIS_OPERAND_TYPE_REGISTER &&
                      instruction.decoded.operand_count_visible == 2;
        if (!stores) {
            at_.fill(NOWHERE);
            stored_ = 0;
            return;
        }
        for (size_t i = 0; i < std::size(REGISTERS); i++) {
            if (enclosing_register(from.reg.value) != REGISTERS[i])
                continue;
            stored_ |= 1u << i;
            if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_MOV && to.size == 64)
                at_[i] = to.mem.disp.value;
        }
    }

    // Bit n: register n, or its lower part.
    uint32_t stored() const { return stored_; }

    // Bit n: registers n and n + 1 of the ABI were stored side by side.
    uint32_t pairs() const {
        uint32_t pairs = 0;
        for (size_t i = 0; i + 1 < std::size(REGISTERS); i++)
            if (at_[i] != NOWHERE && at_[i + 1] == at_[i] + 8)
                pairs |= 1u << i;
        return pairs;
    }

  private:
    static constexpr ZydisRegister REGISTERS[] = {
        ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_RBX, ZYDIS_REGISTER_RCX,
        ZYDIS_REGISTER_RDI, ZYDIS_REGISTER_RSI, ZYDIS_REGISTER_R8,
        ZYDIS_REGISTER_R9,  ZYDIS_REGISTER_R10, ZYDIS_REGISTER_R11,
    };
    static constexpr int64_t NOWHERE = INT64_MIN;
    std::array<int64_t, std::size(REGISTERS)> at_ = make_nowhere();
    uint32_t stored_ = 0;

    static std::array<int64_t, std::size(REGISTERS)> make_nowhere() {
        std::array<int64_t, std::size(REGISTERS)> all;
        all.fill(NOWHERE);
        return all;
    }
};

class Records {
  public:
    void add(const Record &record) {
        const uint8_t *start = reinterpret_cast<const uint8_t *>(&record);
        bytes_.insert(bytes_.end(), start, start + sizeof record);
    }
    size_t size() const { return bytes_.size(); }
    Record at(size_t offset) const {
        Record record;
        memcpy(&record, bytes_.data() + offset, sizeof record);
        return record;
    }
    void replace(size_t offset, const Record &record) {
        memcpy(bytes_.data() + offset, &record, sizeof record);
    }
    void cut(size_t size) { bytes_.resize(size); }
    Bytes take() { return std::move(bytes_); }

  private:
    Bytes bytes_;
};

void decode_function(const ZydisDecoder &decoder, const Bytes &code, uint32_t function,
                     uint64_t address, Records &records) {
    size_t start = records.size();
    uint64_t offset = 0;
    Instruction instruction;
    Spills spills;
    for (unsigned count = 0; offset < code.size(); count++) {
        ZyanStatus status =
            ZydisDecoderDecodeFull(&decoder, code.data() + offset, code.size() - offset,
                                   &instruction.decoded, instruction.operands);
        Kind kind = ZYAN_SUCCESS(status) ? kind_of(instruction) : UNDECODABLE;
        Record record = {function, static_cast<uint32_t>(offset), 0, kind, 0, 0, 0, NAN};
        if (kind == UNDECODABLE) {
            records.cut(start);
            records.add(record);
            return;
        }
        record.length = instruction.decoded.length;
        record.flags = flags_of(instruction, kind);
        if (kind == CONDITIONAL)
            record.detail = condition_of(instruction.decoded);
        record.effects =
            kind == CALL ? spills.pairs() | spills.stored() << 16 : effects_of(instruction, kind);
        spills.see(instruction, kind);
        ZyanU64 target = 0;
        if (is_relative(instruction) &&
            ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&instruction.decoded, &instruction.operands[0],
                                                  address + offset, &target)))
            record.target = static_cast<double>(target);
        if (kind != OTHER || count < PROLOGUE)
            records.add(record);
        offset += instruction.decoded.length;
    }
}

bool is_through_got(const Instruction &jump, uint64_t address, const TableReader &reader) {
    const ZydisDecodedOperand &operand = jump.operands[0];
    ZyanU64 slot;
    return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RIP &&
           ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&jump.decoded, &operand, address, &slot)) &&
           reader.is_in_got(slot);
}

// Says of the indirect jumps among the records from `start` on which go through a table, and which
// through the GOT. All of the code is known to decode.
void find_jump_tables(const ZydisDecoder &decoder, const Bytes &code, uint64_t address,
                      const CodeRanges &ranges, TableReader &reader, Records &records,
                      size_t start) {
    std::vector<uint64_t> branches;
    std::vector<size_t> jumps;
    for (size_t at = start; at < records.size(); at += sizeof(Record)) {
        Record record = records.at(at);
        if (record.kind == JUMP || record.kind == CONDITIONAL)
            branches.push_back(static_cast<uint64_t>(record.target) - address);
        else if (record.kind == INDIRECT_JUMP)
            jumps.push_back(at);
    }
    if (jumps.empty())
        return;
    std::sort(branches.begin(), branches.end());
    JumpTables tables(reader, ranges);
    Instruction instruction;
    auto each = [&](auto &&see) {
        for (uint64_t offset = 0; offset < code.size(); offset += instruction.decoded.length) {
            if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data() + offset,
                                                     code.size() - offset, &instruction.decoded,
                                                     instruction.operands)))
                return;
            see(offset);
        }
    };
    each([&](uint64_t offset) { tables.prepare(instruction, address + offset); });
    size_t next = 0;
    each([&](uint64_t offset) {
        if (std::binary_search(branches.begin(), branches.end(), offset))
            tables.forget();
        if (next < jumps.size() && records.at(jumps[next]).offset == offset) {
            Record record = records.at(jumps[next]);
            std::optional<uint64_t> lowest = tables.leads_to(instruction);
            // Compilers give this prefix to jumps through their own tables alone, under CET.
            bool untracked = instruction.decoded.attributes & ZYDIS_ATTRIB_HAS_NOTRACK;
            if (lowest || untracked)
                record.detail = THROUGH_TABLE;
            else if (is_through_got(instruction, address + offset, reader))
                record.detail = THROUGH_GOT;
            if (lowest)
                record.target = static_cast<double>(*lowest);
            records.replace(jumps[next++], record);
        }
        tables.follow(instruction, address + offset);
    });
}

} // namespace

Bytes decode_functions(const ElfFile &elf, const std::vector<uint64_t> &addresses,
                       const std::vector<uint64_t> &sizes, const std::vector<uint64_t> &owners) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    Records records;
    TableReader reader(elf);
    uint64_t decoded = 0;
    // By function, those parts of it that are no functions of their own.
    std::map<uint64_t, CodeRanges> parts;
    for (size_t i = 0; i < owners.size(); i++)
        if (owners[i] != i)
            parts[owners[i]].emplace_back(addresses[i], addresses[i] + sizes[i]);
    for (size_t i = 0; i < addresses.size(); i++) {
        uint32_t function = static_cast<uint32_t>(i);
        std::optional<Bytes> code;
        if (sizes[i] > 0 && sizes[i] <= LARGEST_FUNCTION && elf.is_code(addresses[i]))
            code = elf.memory(addresses[i], sizes[i]);
        if (code && (decoded += code->size()) > MOST_CODE)
            malformed("its functions are larger than its code");
        if (!code) {
            records.add({function, 0, 0, UNDECODABLE, 0, 0, 0, NAN});
            continue;
        }
        size_t start = records.size();
        decode_function(decoder, *code, function, addresses[i], records);
        uint64_t owner = owners.empty() ? i : owners[i];
        CodeRanges ranges = {{addresses[owner], addresses[owner] + sizes[owner]}};
        if (auto found = parts.find(owner); found != parts.end())
            ranges.insert(ranges.end(), found->second.begin(), found->second.end());
        find_jump_tables(decoder, *code, addresses[i], ranges, reader, records, start);
    }
    return records.take();
}
