// A function of this process that features are tried on, by probing it.
#pragma once

#include <cstdint>
#include <string>

extern "C" __attribute__((visibility("hidden"))) void underspan_try_hit();

struct OwnSite {
    std::string path;
    uint64_t offset = 0;
};

// Where an address of this process lies in a file; without a path if in none.
OwnSite own_site(uint64_t address);
