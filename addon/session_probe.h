// Whether uprobe.session can be used: see features.h.
#pragma once

// Linux 6.13, commits 99b403d2060f ("uprobe: Add support for session consumer") and d920179b3d4c
// ("bpf: Add support for uprobe multi session attach"). With a kernel whose seccomp filters see the
// system call by which replaced return addresses come back (before commit cf6cb56ef244) it would
// kill whoever is filtered: false.
bool has_uprobe_session();
