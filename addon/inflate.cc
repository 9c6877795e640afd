#include "inflate.h"

#include <zlib.h>

#include <algorithm>

#include "elf.h"

// Deflate cannot do better; a header that promises more lies.
static constexpr uint64_t BEST_RATIO = 1032;
static constexpr uint64_t LARGEST = uint64_t{2} << 30;
static constexpr uint64_t STEP = uint64_t{16} << 20;

std::vector<uint8_t> inflate_all(const uint8_t *data, uint64_t data_size, uint64_t size) {
    if (size > LARGEST || data_size > LARGEST || size / BEST_RATIO > data_size)
        malformed("a compressed section claims an impossible size");
    std::vector<uint8_t> out;
    z_stream stream = {};
    if (inflateInit(&stream) != Z_OK)
        throw std::bad_alloc();
    struct End {
        z_stream *stream;
        ~End() { inflateEnd(stream); }
    } end{&stream};
    stream.next_in = const_cast<Bytef *>(data);
    stream.avail_in = static_cast<uInt>(data_size);
    int status = Z_OK;
    // Grown in steps, so that a wrong size costs no more memory than the stream really holds.
    while (out.size() < size && status == Z_OK) {
        uint64_t before = out.size();
        uint64_t step = std::min(std::max(STEP, before), size - before);
        out.resize(before + step);
        stream.next_out = out.data() + before;
        stream.avail_out = static_cast<uInt>(step);
        status = inflate(&stream, Z_NO_FLUSH);
        out.resize(before + step - stream.avail_out);
    }
    if (out.size() != size || (status != Z_OK && status != Z_STREAM_END))
        malformed("a compressed section is damaged");
    return out;
}
