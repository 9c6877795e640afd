// What Go's linker says about the build: version, main module, module versions.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "elf.h"

struct BuildInfo {
    std::string version;
    std::optional<std::string> main_module;
    std::map<std::string, std::string> modules; // version by path
};

std::optional<BuildInfo> read_build_info(const ElfFile &elf);
