// Before Linux 5.11 BPF maps and programs count against the limit of locked memory.
#pragma once

#include <optional>

#include "errors.h"

// Explains a failure of the bpf system call by that limit, if it can be the cause.
std::optional<NativeFailure> locked_memory_failure(int error_number);
