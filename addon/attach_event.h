// A program at the perf event of one probe.
#pragma once

#include <cstdint>

#include "fd.h"

// `event` becomes what keeps the program there. Returns 0, or the negative errno.
int attach_event(int program, Fd &event, uint64_t cookie);
