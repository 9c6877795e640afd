#include "dwarf_lines.h"

#include <algorithm>

#include "dwarf_lists.h"

namespace dwarf {

// Section 6.2.
enum StandardOpcode : uint8_t {
    COPY = 1,
    ADVANCE_PC = 2,
    ADVANCE_LINE = 3,
    SET_FILE = 4,
    SET_COLUMN = 5,
    NEGATE_STMT = 6,
    SET_BASIC_BLOCK = 7,
    CONST_ADD_PC = 8,
    FIXED_ADVANCE_PC = 9,
    SET_PROLOGUE_END = 10,
    SET_EPILOGUE_BEGIN = 11,
    SET_ISA = 12,
};
enum ExtendedOpcode : uint8_t { END_SEQUENCE = 1, SET_ADDRESS = 2 };
enum Content : uint8_t { CONTENT_PATH = 1, CONTENT_DIRECTORY = 2 };

static constexpr size_t MOST_NAMES = 1u << 20;

namespace {

struct Wanted {
    uint64_t address;
    size_t index;
};

struct FileName {
    std::string name;
    uint64_t directory = 0;
};

struct Row {
    uint64_t address = 0;
    uint64_t file = 1;
    int64_t line = 1;
};

class LineProgram {
  public:
    LineProgram(const Reader &reader, const Unit &unit, uint64_t offset, std::string directory)
        : reader_(reader), unit_(unit), cursor_(reader.part(Part::LINE), offset),
          directory_(std::move(directory)) {}

    // `wanted` is sorted.
    void find(const std::vector<Wanted> &wanted, std::vector<std::optional<SourceLine>> &lines) {
        if (!read_header())
            return;
        Row row, before;
        bool in_sequence = false;
        auto emit = [&](bool ends) {
            if (in_sequence && before.address < row.address)
                assign(wanted, before, row.address, lines);
            before = row;
            in_sequence = !ends;
            if (ends)
                row = Row();
        };
        auto advance = [&](uint64_t count) { row.address += count * minimum_length_; };
        while (cursor_.at() < end_) {
            uint8_t opcode = cursor_.u8();
            if (opcode >= opcode_base_) {
                uint8_t adjusted = opcode - opcode_base_;
                advance(adjusted / line_range_);
                row.line += line_base_ + adjusted % line_range_;
                emit(false);
                continue;
            }
            switch (opcode) {
            case 0: {
                uint64_t length = cursor_.uleb128();
                if (length == 0)
                    break;
                uint8_t extended = cursor_.u8();
                Cursor operands(cursor_.take(length - 1), length - 1);
                if (extended == END_SEQUENCE)
                    emit(true);
                else if (extended == SET_ADDRESS && length == 9)
                    row.address = operands.u64();
                break;
            }
            case COPY:
                emit(false);
                break;
            case ADVANCE_PC:
                advance(cursor_.uleb128());
                break;
            case ADVANCE_LINE:
                row.line += cursor_.sleb128() & UINT32_MAX;
                row.line = static_cast<int32_t>(row.line);
                break;
            case SET_FILE:
                row.file = cursor_.uleb128();
                break;
            case CONST_ADD_PC:
                advance(static_cast<uint8_t>(255 - opcode_base_) / line_range_);
                break;
            case FIXED_ADVANCE_PC:
                row.address += cursor_.u16();
                break;
            case NEGATE_STMT:
            case SET_BASIC_BLOCK:
            case SET_PROLOGUE_END:
            case SET_EPILOGUE_BEGIN:
                break;
            default: // SET_COLUMN, SET_ISA, and those that are not known here
                for (unsigned i = 0; i < operand_counts_[opcode]; i++)
                    cursor_.uleb128();
                break;
            }
        }
    }

  private:
    bool read_header() {
        uint64_t length = cursor_.u32();
        unsigned offset_size = 4;
        if (length == 0xffffffff) {
            length = cursor_.u64();
            offset_size = 8;
        }
        if (length > cursor_.left())
            malformed("a DWARF line table is cut off");
        end_ = cursor_.at() + length;
        version_ = cursor_.u16();
        if (version_ < 2 || version_ > 5)
            return false;
        if (version_ >= 5)
            cursor_.skip(2); // sizes of addresses and segment selectors
        uint64_t header_length = cursor_.unsigned_of(offset_size);
        if (header_length > cursor_.left())
            malformed("a DWARF line table is cut off");
        uint64_t program = cursor_.at() + header_length;
        minimum_length_ = cursor_.u8();
        if (version_ >= 4)
            cursor_.skip(1); // operations an instruction: one, except on VLIW
        cursor_.skip(1);     // default_is_stmt
        line_base_ = static_cast<int8_t>(cursor_.u8());
        line_range_ = cursor_.u8();
        opcode_base_ = cursor_.u8();
        if (line_range_ == 0 || opcode_base_ == 0)
            malformed("a DWARF line table is damaged");
        operand_counts_.assign(opcode_base_, 0);
        for (unsigned i = 1; i < opcode_base_; i++)
            operand_counts_[i] = cursor_.u8();
        if (version_ >= 5) {
            for (FileName &file : read_names())
                directories_.push_back(std::move(file.name));
            files_ = read_names();
        } else {
            read_old_names();
        }
        if (program < cursor_.at() || program > end_)
            malformed("a DWARF line table is damaged");
        cursor_.skip(program - cursor_.at());
        return true;
    }

    // Index 0 of the directories is that of the unit; files count from 1.
    void read_old_names() {
        directories_.push_back(directory_);
        for (;;) {
            std::string_view name = cursor_.text();
            if (name.empty())
                break;
            directories_.emplace_back(name);
        }
        files_.emplace_back();
        for (;;) {
            std::string_view name = cursor_.text();
            if (name.empty())
                break;
            FileName file{std::string(name), cursor_.uleb128()};
            cursor_.uleb128(); // time
            cursor_.uleb128(); // size
            files_.push_back(std::move(file));
        }
    }

    std::vector<FileName> read_names() {
        std::vector<std::pair<uint64_t, uint64_t>> formats;
        for (unsigned count = cursor_.u8(); count > 0; count--) {
            uint64_t content = cursor_.uleb128();
            formats.emplace_back(content, cursor_.uleb128());
        }
        std::vector<FileName> names;
        uint64_t count = cursor_.uleb128();
        if (count > MOST_NAMES || count > cursor_.left())
            malformed("a DWARF line table is damaged");
        for (uint64_t i = 0; i < count; i++) {
            FileName &name = names.emplace_back();
            for (const auto &[content, form] : formats) {
                Attribute attribute = reader_.form(unit_, cursor_, form);
                if (content == CONTENT_PATH && attribute.kind == Class::TEXT)
                    name.name = attribute.bytes;
                else if (content == CONTENT_DIRECTORY && attribute.kind == Class::CONSTANT)
                    name.directory = attribute.number;
            }
        }
        return names;
    }

    std::string path_of(uint64_t index) const {
        if (index >= files_.size() || files_[index].name.empty())
            return "";
        const FileName &file = files_[index];
        if (file.name[0] == '/' || file.directory >= directories_.size())
            return file.name;
        std::string directory = directories_[file.directory];
        if (!directory.empty() && directory[0] != '/' && file.directory != 0)
            directory = directories_[0].empty() ? directory : directories_[0] + "/" + directory;
        return directory.empty() ? file.name : directory + "/" + file.name;
    }

    void assign(const std::vector<Wanted> &wanted, const Row &row, uint64_t end,
                std::vector<std::optional<SourceLine>> &lines) const {
        auto at =
            std::lower_bound(wanted.begin(), wanted.end(), row.address,
                             [](const Wanted &a, uint64_t address) { return a.address < address; });
        for (; at != wanted.end() && at->address < end; ++at) {
            if (lines[at->index] || row.line <= 0)
                continue;
            std::string path = path_of(row.file);
            if (!path.empty())
                lines[at->index] = SourceLine{std::move(path), static_cast<uint64_t>(row.line)};
        }
    }

    const Reader &reader_;
    const Unit &unit_;
    Cursor cursor_;
    std::string directory_;
    uint64_t end_ = 0;
    uint16_t version_ = 0;
    uint8_t minimum_length_ = 1, line_range_ = 1, opcode_base_ = 1;
    int8_t line_base_ = 0;
    std::vector<uint8_t> operand_counts_;
    std::vector<std::string> directories_;
    std::vector<FileName> files_;
};

} // namespace

void find_lines(const Reader &reader, const std::vector<uint64_t> &addresses,
                std::vector<std::optional<SourceLine>> &lines) {
    std::vector<Wanted> wanted;
    for (size_t i = 0; i < addresses.size(); i++)
        if (!lines[i])
            wanted.push_back({addresses[i], i});
    if (wanted.empty())
        return;
    std::sort(wanted.begin(), wanted.end(),
              [](const Wanted &a, const Wanted &b) { return a.address < b.address; });
    Entry entry;
    for (const Unit &unit : reader.units()) {
        if (unit.entries >= unit.end)
            continue;
        reader.read(unit, unit.entries, entry);
        std::optional<uint64_t> program = entry.number(AT_STMT_LIST, Class::OFFSET);
        if (!program)
            continue;
        // Of all units only those whose code was asked for.
        std::vector<Wanted> inside;
        for (const Range &range : ranges_of(reader, unit, entry)) {
            auto at = std::lower_bound(
                wanted.begin(), wanted.end(), range.start,
                [](const Wanted &a, uint64_t address) { return a.address < address; });
            // Ranges may overlap in a damaged file, and must not multiply.
            for (; at != wanted.end() && at->address < range.end && inside.size() < wanted.size();
                 ++at)
                inside.push_back(*at);
        }
        if (inside.empty())
            continue;
        std::sort(inside.begin(), inside.end(),
                  [](const Wanted &a, const Wanted &b) { return a.address < b.address; });
        LineProgram(reader, unit, *program, std::string(entry.text(AT_COMP_DIR)))
            .find(inside, lines);
    }
}

} // namespace dwarf
