// The few types of the kernel that the relocations of our BPF objects ask for.
#pragma once

#include <string>

// Path of a BTF file with them, for libbpf to read in place of the kernel's own, which it would
// read whole, and anew for each object: 5 MB, in 15 ms. It holds the types of all objects beside
// this one and is made once. Empty: it cannot be made, and libbpf does as it would.
std::string relocation_types_for(const std::string &object);
