// Programs at their sites. A link is the file descriptors that keep it; the kernel takes the
// probes away when they are closed, so a killed tracer leaves nothing behind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fd.h"

struct UprobeSites {
    std::string path;
    std::optional<int> pid;
    std::vector<uint64_t> offsets;
    std::vector<uint64_t> cookies;
};

NativeFailure attach_failure(const UprobeSites &sites, int error_number);
