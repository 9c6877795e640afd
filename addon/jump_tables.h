// Tells a jump through a switch's table, which stays in its function, from one that leaves it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "elf.h"
#include "instruction.h"
#include "relocations.h"

// The parts that a function's code is in, [start, end) each; the first begins with its entry.
using CodeRanges = std::vector<std::pair<uint64_t, uint64_t>>;

// What a file's tables hold. Its relocations are read when a table of pointers is first met.
class TableReader {
  public:
    explicit TableReader(const ElfFile &elf) : elf_(elf) {}

    // The lowest address in the function's first part, or failing that the first, that the table
    // leads to; nothing if it is no table of places within the function.
    std::optional<uint64_t> pointers(uint64_t table, const CodeRanges &ranges);
    std::optional<uint64_t> offsets(uint64_t table, const CodeRanges &ranges);
    // The linker's own table of what symbols stand for, which are no places within a function.
    bool is_in_got(uint64_t address) const;

  private:
    Bytes read(uint64_t table, uint64_t entry_size);

    const ElfFile &elf_;
    unsigned tables_ = 0;
    std::unique_ptr<Relocations> relocations_;
};

// What a register holds, as far as it matters for a jump.
struct RegisterValue {
    enum Kind : uint8_t { UNKNOWN, ADDRESS, OFFSET, PLACE };
    Kind kind = UNKNOWN;
    // UNKNOWN: tells it from other unknown values. ADDRESS: itself. OFFSET: its table, or where
    // that is unknown (`of_unknown`) the unknown value. PLACE: as TableReader says.
    uint64_t value = 0;
    bool of_unknown = false;
};

// Follows the registers through the code of one part of a function, in the order of addresses.
class JumpTables {
  public:
    JumpTables(TableReader &reader, const CodeRanges &ranges) : reader_(reader), ranges_(ranges) {
        forget();
    }

    // All instructions must be passed to this one first: a table's address is often taken long
    // before the loop in which it is used.
    void prepare(const Instruction &instruction, uint64_t address);
    // What is known of the registers is known no longer: a branch leads here.
    void forget();
    void follow(const Instruction &instruction, uint64_t address);
    // If it is a jump through a table: the lowest address that it leads to, as TableReader says.
    std::optional<uint64_t> leads_to(const Instruction &jump);

  private:
    RegisterValue unknown() { return {RegisterValue::UNKNOWN, ++unknowns_, false}; }
    RegisterValue place(std::optional<uint64_t> lowest) {
        return lowest ? RegisterValue{RegisterValue::PLACE, *lowest, false} : unknown();
    }
    RegisterValue of(ZydisRegister reg) const;
    RegisterValue sum(const RegisterValue &a, const RegisterValue &b);
    RegisterValue loaded(const ZydisDecodedOperand &memory);
    RegisterValue loaded_from(uint64_t table, unsigned size);
    RegisterValue computed(const Instruction &instruction, uint64_t address);
    RegisterValue through_kept_base(unsigned base, int64_t displacement);
    std::optional<uint64_t> any_offsets();

    TableReader &reader_;
    const CodeRanges &ranges_;
    std::array<RegisterValue, GENERAL_REGISTERS> registers_;
    uint64_t unknowns_ = 0;
    // By register: the addresses that it is given anywhere, and whether it is given anything else.
    std::array<std::vector<uint64_t>, GENERAL_REGISTERS> addresses_;
    uint32_t given_else_ = 0;
    std::optional<std::optional<uint64_t>> any_offsets_;
};
