// uprobe_multi links: one file descriptor for any number of sites.
#pragma once

#include "attach.h"
#include "kernel_api.h"

// The program must have been loaded for it: TRACE_UPROBE_MULTI or TRACE_UPROBE_SESSION.
Fd attach_uprobe_multi(int program, const UprobeSites &sites,
                       bpf_attach_type type = TRACE_UPROBE_MULTI);

// Returns a file descriptor, or the negative errno.
int create_uprobe_multi_link(int program, const UprobeSites &sites,
                             bpf_attach_type type = TRACE_UPROBE_MULTI);
