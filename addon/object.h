// Compiled BPF objects: opened, set up, loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fd.h"
#include "kernel_api.h"
#include "maps.h"

struct MapChange {
    std::string name;
    std::optional<uint32_t> max_entries;
    // Perf buffers instead of a ring.
    bool perf_buffers = false;
    // An existing map to use in its place, with what it must have in common.
    Fd reuse;
    uint32_t key_size = 0, value_size = 0, type = 0;
};

struct ObjectOptions {
    std::string path;
    std::optional<std::vector<uint8_t>> settings;
    std::vector<MapChange> maps;
    bool multi = false;
    bool sleepable = false;
    // How programs of section kprobe will be attached.
    bool kprobe_multi = false;
    // The kernel's function that programs of sections fentry and fexit are for.
    std::optional<std::string> kernel_function;
    std::optional<std::vector<std::string>> programs;
};

struct Program {
    std::string name;
    std::string section;
    Fd fd;
};

// All that is left of an object when it is loaded; libbpf's own memory is given back.
struct Object {
    std::vector<Program> programs;
    std::vector<std::shared_ptr<Map>> maps;
};

Object load_object(const ObjectOptions &options);

// Of a uprobe program, where it is attached to many sites at once: by its section, "uprobe" or
// "uprobe/session".
bpf_attach_type attach_type_of(const std::string &section);

// The last lines of a verifier's log that say why, and how many were left out.
std::string last_useful_lines(const std::string &log);
