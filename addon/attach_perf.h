// Uprobes as perf events, one for each site, for kernels without uprobe_multi.
#pragma once

#include "attach.h"

std::vector<Fd> attach_uprobe_perf(int program, const UprobeSites &sites);

// Each close waits for RCU grace periods; threads share them.
void close_in_parallel(std::vector<Fd> fds);
