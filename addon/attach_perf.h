// Uprobes as perf events, one for each site, for kernels without uprobe_multi.
#pragma once

#include "attach.h"

// Closing takes 20 to 110 ms each, one after the other whatever the number of threads: the kernel
// waits for RCU grace periods while it holds the mutex of all trace events. It waits before it
// takes the breakpoint out, and gives that up if the thread was killed meanwhile: a SIGKILL during
// a detach leaves one probe behind (until another is attached and detached there), one while the
// events are merely open leaves none.
std::vector<Fd> attach_uprobe_perf(int program, const UprobeSites &sites);
