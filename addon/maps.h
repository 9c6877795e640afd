// BPF maps by file descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fd.h"

class Map {
  public:
    Map(std::string name, Fd fd);
    ~Map();
    Map(const Map &) = delete;

    const std::string &name() const { return name_; }
    uint32_t type() const { return type_; }
    uint32_t key_size() const { return key_size_; }
    uint32_t value_size() const { return value_size_; }
    uint32_t max_entries() const { return max_entries_; }

    // All of these throw CLOSED after close().
    int fd() const;
    bool lookup(const void *key, void *value) const;
    void update(const void *key, const void *value);
    // False: there is no such element.
    bool replace(const void *key, const void *value);
    void update_many(const uint8_t *keys, const uint8_t *values, size_t count);
    bool erase(const void *key);
    // Copies elements of an array map.
    void read(uint32_t first, uint32_t count, uint8_t *values);
    // Of an array map that can be mapped: the 64-bit numbers at `offset` in its elements, summed
    // over `group` elements at a time.
    std::vector<double> sums(uint32_t offset, uint32_t count, uint32_t group);

    void close();

    struct Entries {
        std::vector<uint8_t> keys;
        std::vector<uint8_t> values;
    };
    // What entries() needs to go on when the map is closed meanwhile.
    struct Snapshot {
        std::string name;
        Fd fd;
        uint32_t key_size, value_size, max_entries;
    };
    Snapshot snapshot() const;

  private:
    void refuse_per_cpu() const;
    const uint8_t *mapping();
    void read_batch(uint32_t first, uint32_t count, uint8_t *values);

    std::string name_;
    Fd fd_;
    uint32_t type_ = 0, key_size_ = 0, value_size_ = 0, max_entries_ = 0, flags_ = 0;
    uint8_t *mapping_ = nullptr;
    size_t mapping_size_ = 0;
};

Map::Entries entries_of(const Map::Snapshot &map);

// By its keys alone. A hash map that changes meanwhile is counted about right.
uint32_t count_of(const Map::Snapshot &map);
