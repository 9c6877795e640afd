// Whether anything in a program looks for return addresses on its stacks.
#pragma once

#include <string>

// By the symbols of a file that a process has mapped, its executable or a library: true if it has
// an unwinder, or asks for one, which the C library loads for pthread_exit, pthread_cancel and
// backtrace. True also where that cannot be told, as of a static program without symbols.
bool may_unwind(const std::string &path);
