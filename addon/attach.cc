#include "attach.h"

#include <cerrno>

// What an errno of the kernel's uprobe code means to whoever asked for the probes.
static std::string meaning_of(const UprobeSites &sites, int error_number) {
    switch (error_number) {
    case ENOENT:
        return "the file does not exist";
    case ESRCH:
        return sites.pid ? "process " + std::to_string(*sites.pid) + " is gone" : "";
    case EBADF:
        return "it is not a regular file";
    case EMFILE:
    case ENFILE:
        return "too many open files; raise the limit (ulimit -n)";
    case EINVAL:
        return "an offset is not inside the file, or its instruction cannot carry a probe";
    case EILSEQ:
        return "an instruction cannot be decoded";
    case E2BIG:
        return "too many sites";
    default:
        return "";
    }
}

NativeFailure attach_failure(const UprobeSites &sites, int error_number) {
    std::string meaning = meaning_of(sites, error_number);
    return failure_of("ATTACH_FAILED",
                      "Cannot attach " + std::to_string(sites.offsets.size()) + " probes to " +
                          sites.path + (meaning.empty() ? "" : " (" + meaning + ")"),
                      error_number);
}
