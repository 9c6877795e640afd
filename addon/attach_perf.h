// Uprobes as perf events, one for each site, for kernels without uprobe_multi.
#pragma once

#include "attach.h"

// Closing takes 20 to 110 ms each, one after the other whatever the number of threads: the kernel
// waits for RCU grace periods while it holds the mutex of all trace events.
std::vector<Fd> attach_uprobe_perf(int program, const UprobeSites &sites);
