// zlib streams out of untrusted files.
#pragma once

#include <cstdint>
#include <vector>

// Throws ELF_MALFORMED unless the stream holds exactly `size` bytes.
std::vector<uint8_t> inflate_all(const uint8_t *data, uint64_t data_size, uint64_t size);
