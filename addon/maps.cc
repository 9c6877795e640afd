#include "maps.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

// Elements a system call; hash maps may need more, for a bucket is never split.
static constexpr uint32_t BATCH = 1024;

static size_t rounded(size_t size, size_t to) { return (size + to - 1) / to * to; }

Map::Map(std::string name, Fd fd) : name_(std::move(name)), fd_(std::move(fd)) {
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd_.get(), &info, &size) != 0)
        throw failure_of("BPF_FAILED", "Cannot examine map " + name_, errno);
    type_ = info.type;
    key_size_ = info.key_size;
    value_size_ = info.value_size;
    max_entries_ = info.max_entries;
    flags_ = info.map_flags;
}

Map::~Map() { close(); }

void Map::close() {
    if (mapping_ != nullptr)
        munmap(mapping_, mapping_size_);
    mapping_ = nullptr;
    fd_ = Fd();
}

int Map::fd() const {
    if (!fd_)
        throw closed_failure("Map " + name_);
    return fd_.get();
}

void Map::refuse_per_cpu() const {
    // The kernel writes a value for every possible CPU there, beyond a buffer of value_size.
    switch (type_) {
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
        throw NativeFailure{"BPF_UNSUPPORTED", "Map " + name_ + " has a value for each CPU", 0, ""};
    default:
        return;
    }
}

bool Map::lookup(const void *key, void *value) const {
    refuse_per_cpu();
    if (bpf_map_lookup_elem(fd(), key, value) == 0)
        return true;
    if (errno == ENOENT)
        return false;
    throw failure_of("BPF_FAILED", "Cannot look into map " + name_, errno);
}

void Map::update(const void *key, const void *value) {
    refuse_per_cpu();
    if (bpf_map_update_elem(fd(), key, value, BPF_ANY) != 0)
        throw failure_of("BPF_FAILED", "Cannot update map " + name_, errno);
}

bool Map::replace(const void *key, const void *value) {
    refuse_per_cpu();
    if (bpf_map_update_elem(fd(), key, value, BPF_EXIST) == 0)
        return true;
    if (errno == ENOENT)
        return false;
    throw failure_of("BPF_FAILED", "Cannot update map " + name_, errno);
}

void Map::update_many(const uint8_t *keys, const uint8_t *values, size_t count) {
    refuse_per_cpu();
    int map = fd();
    LIBBPF_OPTS(bpf_map_batch_opts, options);
    for (size_t done = 0; done < count;) {
        auto batch = static_cast<uint32_t>(std::min<size_t>(count - done, 1 << 20));
        if (bpf_map_update_batch(map, keys + done * key_size_, values + done * value_size_, &batch,
                                 &options) != 0)
            throw failure_of("BPF_FAILED", "Cannot update map " + name_, errno);
        done += batch;
    }
}

bool Map::erase(const void *key) {
    if (bpf_map_delete_elem(fd(), key) == 0)
        return true;
    if (errno == ENOENT)
        return false;
    throw failure_of("BPF_FAILED", "Cannot delete from map " + name_, errno);
}

const uint8_t *Map::mapping() {
    if (mapping_ == nullptr) {
        size_t size = rounded(rounded(value_size_, 8) * max_entries_, sysconf(_SC_PAGESIZE));
        void *address = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd(), 0);
        if (address == MAP_FAILED)
            throw failure_of("BPF_FAILED", "Cannot map " + name_ + " into memory", errno);
        mapping_ = static_cast<uint8_t *>(address);
        mapping_size_ = size;
    }
    return mapping_;
}

void Map::read_batch(uint32_t first, uint32_t count, uint8_t *values) {
    LIBBPF_OPTS(bpf_map_batch_opts, options);
    std::vector<uint32_t> keys(std::min(count, BATCH));
    for (uint32_t done = 0; done < count;) {
        // An array's batch begins behind the key it is given.
        uint32_t before = first + done - 1, last = 0;
        auto batch = std::min(count - done, BATCH);
        int error =
            bpf_map_lookup_batch(fd(), first + done == 0 ? nullptr : &before, &last, keys.data(),
                                 values + size_t{done} * value_size_, &batch, &options);
        // ENOENT says that the array's end was reached, with what came before it.
        if ((error != 0 && errno != ENOENT) || batch == 0)
            throw failure_of("BPF_FAILED", "Cannot read map " + name_, errno);
        done += batch;
    }
}

void Map::read(uint32_t first, uint32_t count, uint8_t *values) {
    fd();
    if (type_ != BPF_MAP_TYPE_ARRAY)
        throw NativeFailure{"BPF_UNSUPPORTED", "Map " + name_ + " is not an array", 0, ""};
    if (count > max_entries_ || first > max_entries_ - count)
        throw NativeFailure{"BPF_FAILED", "Elements beyond the end of map " + name_, 0, ""};
    if ((flags_ & BPF_F_MMAPABLE) == 0)
        return read_batch(first, count, values);
    size_t stride = rounded(value_size_, 8);
    const uint8_t *from = mapping() + stride * first;
    if (stride == value_size_) {
        std::memcpy(values, from, stride * count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        std::memcpy(values + size_t{i} * value_size_, from + stride * i, value_size_);
}

std::vector<double> Map::sums(uint32_t offset, uint32_t count, uint32_t group) {
    if ((flags_ & BPF_F_MMAPABLE) == 0 || offset % 8 != 0 || offset + 8 > value_size_ ||
        uint64_t{count} * group > max_entries_)
        throw NativeFailure("BPF_FAILED", "Map " + name_ + " has no such numbers");
    size_t stride = rounded(value_size_, 8);
    const uint8_t *at = mapping() + offset;
    std::vector<double> sums(count);
    for (auto &sum : sums)
        for (uint32_t i = 0; i < group; i++, at += stride)
            sum += static_cast<double>(*reinterpret_cast<const volatile uint64_t *>(at));
    return sums;
}

Map::Snapshot Map::snapshot() const {
    refuse_per_cpu();
    return {name_, Fd::copy_of(fd()), key_size_, value_size_, max_entries_};
}

Map::Entries entries_of(const Map::Snapshot &map) {
    LIBBPF_OPTS(bpf_map_batch_opts, options);
    Map::Entries entries;
    // A hash map's position is 4 bytes, an array's is a key.
    std::vector<uint8_t> position(std::max<uint32_t>(map.key_size, 4)), next(position.size());
    uint32_t room = std::min(map.max_entries, BATCH);
    bool begun = false;
    for (size_t count = 0;;) {
        entries.keys.resize((count + room) * map.key_size);
        entries.values.resize((count + room) * map.value_size);
        uint32_t batch = room;
        int error =
            bpf_map_lookup_batch(map.fd.get(), begun ? position.data() : nullptr, next.data(),
                                 entries.keys.data() + count * map.key_size,
                                 entries.values.data() + count * map.value_size, &batch, &options);
        if (error != 0 && errno == ENOSPC) {
            // One bucket holds more than there is room for.
            room *= 2;
            continue;
        }
        if (error != 0 && errno != ENOENT)
            throw failure_of("BPF_FAILED", "Cannot read map " + map.name, errno);
        count += batch;
        if (error != 0) {
            entries.keys.resize(count * map.key_size);
            entries.values.resize(count * map.value_size);
            return entries;
        }
        begun = true;
        position.swap(next);
    }
}

uint32_t count_of(const Map::Snapshot &map) {
    std::vector<uint8_t> key(map.key_size), next(map.key_size);
    uint32_t count = 0;
    // Where the key that was last seen is gone, the kernel begins anew: so it must be bounded.
    while (count < map.max_entries) {
        if (bpf_map_get_next_key(map.fd.get(), count == 0 ? nullptr : key.data(), next.data()) !=
            0) {
            if (errno == ENOENT)
                break;
            throw failure_of("BPF_FAILED", "Cannot read map " + map.name, errno);
        }
        key.swap(next);
        count++;
    }
    return count;
}
