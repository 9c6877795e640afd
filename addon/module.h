// All that can be asked about one ELF file. Any thread may ask.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "buildinfo.h"
#include "debug_file.h"
#include "dwarf_types.h"
#include "elf.h"
#include "go_parameters.h"
#include "go_types.h"
#include "native_parameters.h"
#include "native_types.h"
#include "pclntab.h"
#include "symbols.h"
#include "thread_locals.h"

class ModuleFile {
  public:
    struct Facts {
        std::string path;
        std::optional<std::string> build_id;
        bool has_symbols = false;
        bool has_dwarf = false;
        bool is_go = false;
        std::optional<BuildInfo> build_info;
    };

    // Symbols and DWARF of a stripped program are looked for beneath `debug_roots`.
    ModuleFile(const std::string &path, const std::vector<std::string> &debug_roots);

    const Facts &facts() const { return facts_; }
    const ElfFile &elf() const { return elf_; }

    FunctionTable functions() const;
    Bytes instructions(const std::vector<uint64_t> &addresses, const std::vector<uint64_t> &sizes,
                       const std::vector<uint64_t> &owners) const;
    std::vector<std::optional<std::string>>
    disassemble(const std::vector<uint64_t> &addresses) const;
    std::vector<std::optional<std::vector<Parameter>>>
    parameters(const std::vector<uint64_t> &addresses);
    // Of functions of C, C++ and Rust.
    std::vector<std::optional<native::Function>>
    native_parameters(const std::vector<uint64_t> &addresses);
    std::vector<native::Type> native_types(const std::vector<uint64_t> &ids);
    std::vector<std::string> native_type_names(const std::vector<uint64_t> &ids);
    std::vector<std::optional<uint64_t>>
    argument_bytes(const std::vector<uint64_t> &addresses) const;
    std::vector<dwarf::Inlined> inlined();
    struct Field {
        std::string type;
        std::string field;
    };
    std::vector<std::optional<uint64_t>> field_offsets(const std::vector<Field> &fields);
    std::vector<std::optional<uint64_t>> runtime_types(const std::vector<std::string> &names);
    std::vector<InterfaceTable> interface_tables(const std::string &interface_name);
    std::vector<std::optional<TypeDescription>>
    describe_types(const std::vector<std::string> &names);
    std::vector<std::optional<std::string>> type_names(const std::vector<uint64_t> &addresses);
    std::vector<std::optional<SourceLine>> lines(const std::vector<uint64_t> &addresses);
    std::optional<ThreadLocal> thread_local_variable(const std::string &name) const {
        return find_thread_local(elf_, name);
    }

    // Lets go of the DWARF sections and the type tables, which can be hundreds of megabytes, unless
    // they are in use.
    void trim();

  private:
    std::shared_ptr<const Pclntab> pclntab() const;
    const dwarf::Reader &reader();
    const dwarf::Index &index();
    const GoTypes *types();
    native::TypeReader &native_type_reader();
    std::optional<uint64_t> runtime_type_by_dwarf(const std::string &name);
    std::optional<uint64_t> find_types_base();

    void add_debug_file(const std::vector<std::string> &roots);

    ElfFile elf_;
    std::unique_ptr<ElfFile> debug_; // what was stripped off; may be null
    bool dwarf_is_apart_ = false;    // and is there
    Facts facts_;
    bool search_pclntab_ = false;
    mutable std::mutex pclntab_lock_; // for what follows
    mutable std::shared_ptr<const Pclntab> pclntab_;
    std::mutex lock_; // for what follows
    std::unique_ptr<dwarf::Reader> reader_;
    std::unique_ptr<dwarf::Index> index_;
    std::unique_ptr<native::TypeReader> native_types_;
    std::optional<uint64_t> types_base_;
    std::optional<GoTypes> types_;
    bool types_sought_ = false;
};
