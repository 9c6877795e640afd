#pragma once

#include <cstdint>
#include <vector>

// The whole of an xz stream. Throws ELF_MALFORMED if it is damaged or larger than `limit`.
std::vector<uint8_t> unxz_all(const std::vector<uint8_t> &data, uint64_t limit);
