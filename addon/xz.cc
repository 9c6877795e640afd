#include "xz.h"

#include <lzma.h>

#include <algorithm>

#include "elf.h"

// What the decoder itself may take: its dictionary is as large as the file says.
static constexpr uint64_t MOST_MEMORY = uint64_t{80} << 20;
static constexpr size_t STEP = size_t{1} << 20;

std::vector<uint8_t> unxz_all(const std::vector<uint8_t> &data, uint64_t limit) {
    lzma_stream stream = LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&stream, MOST_MEMORY, 0) != LZMA_OK)
        throw std::bad_alloc();
    struct End {
        lzma_stream *stream;
        ~End() { lzma_end(stream); }
    } end{&stream};
    stream.next_in = data.data();
    stream.avail_in = data.size();
    std::vector<uint8_t> out;
    lzma_ret status = LZMA_OK;
    while (status == LZMA_OK) {
        size_t before = out.size();
        if (before >= limit)
            malformed("its compressed symbols are too large");
        size_t step = std::min<uint64_t>(std::max(STEP, before), limit - before);
        out.resize(before + step);
        stream.next_out = out.data() + before;
        stream.avail_out = step;
        status = lzma_code(&stream, LZMA_FINISH);
        out.resize(before + step - stream.avail_out);
    }
    if (status != LZMA_STREAM_END)
        malformed("its compressed symbols are damaged");
    return out;
}
