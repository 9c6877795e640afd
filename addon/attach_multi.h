// uprobe_multi links: one file descriptor for any number of sites.
#pragma once

#include "attach.h"

// The program must have been loaded for it.
Fd attach_uprobe_multi(int program, const UprobeSites &sites);

// Returns a file descriptor, or the negative errno.
int create_uprobe_multi_link(int program, const UprobeSites &sites);
