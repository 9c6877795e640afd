#include "debug_file.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>

#include "xz.h"

// Symbols of the largest programs are some tens of megabytes.
static constexpr uint64_t MOST_EMBEDDED = uint64_t{256} << 20;
// A debug file without a build id is read through to see that it is the right one.
static constexpr uint64_t MOST_CHECKED = uint64_t{256} << 20;

// Without openat2 (before Linux 5.6, or where it is filtered) there is no way to stay beneath a
// root that another controls, and so no debug file.
static Fd open_beneath(const Fd &root, const std::string &path) {
    open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return Fd(static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
}

static std::unique_ptr<ElfFile> open_debug(Fd fd) {
    if (!fd)
        return nullptr;
    try {
        return std::make_unique<ElfFile>(ElfFile::debug(std::move(fd)));
    } catch (const NativeFailure &) {
        // Something else has its place. The program can be read without it.
        return nullptr;
    }
}

struct DebugLink {
    std::string name;
    uint32_t checksum;
};

// A name, padded to four bytes, and the CRC-32 of the whole debug file.
static std::optional<DebugLink> debug_link(const ElfFile &elf) {
    const Section *section = elf.section(".gnu_debuglink");
    if (!section || section->size > 4096)
        return std::nullopt;
    Bytes content = elf.contents(*section);
    auto end = std::find(content.begin(), content.end(), 0);
    size_t length = static_cast<size_t>(end - content.begin());
    size_t at = (length + 4) & ~size_t{3};
    if (length == 0 || at + 4 > content.size())
        return std::nullopt;
    DebugLink link{std::string(content.begin(), end), 0};
    memcpy(&link.checksum, content.data() + at, sizeof link.checksum);
    if (link.name.find('/') != std::string::npos)
        return std::nullopt;
    return link;
}

static bool has_checksum(const ElfFile &elf, uint32_t checksum) {
    if (elf.size() > MOST_CHECKED)
        return false;
    constexpr uint64_t STEP = 1u << 20;
    uLong sum = crc32(0, nullptr, 0);
    for (uint64_t at = 0; at < elf.size(); at += STEP) {
        Bytes part = elf.read(at, std::min(STEP, elf.size() - at));
        sum = crc32(sum, part.data(), static_cast<uInt>(part.size()));
    }
    return sum == checksum;
}

// Also whether there is anything in it: a link may name the program itself.
static bool belongs(const ElfFile *debug, const std::optional<std::string> &id,
                    std::optional<uint32_t> checksum) {
    try {
        if (!debug || !(debug->section_of_type(SHT_SYMTAB) || debug->has_debug_section("info")))
            return false;
        return id ? debug->build_id() == id : checksum && has_checksum(*debug, *checksum);
    } catch (const NativeFailure &) {
        return false;
    }
}

// The directory that holds the program, as seen from the root.
static std::string directory_in(const std::string &location, const Fd &root) {
    char target[PATH_MAX];
    std::string link = "/proc/self/fd/" + std::to_string(root.get());
    ssize_t length = readlink(link.c_str(), target, sizeof target);
    std::string path = location;
    if (length > 1) {
        std::string prefix(target, static_cast<size_t>(length));
        if (path.compare(0, prefix.size() + 1, prefix + "/") == 0)
            path.erase(0, prefix.size());
    }
    return path.substr(0, path.rfind('/') + 1);
}

std::unique_ptr<ElfFile> find_debug_file(const ElfFile &elf,
                                         const std::vector<std::string> &roots) {
    std::optional<std::string> id = elf.build_id();
    std::optional<DebugLink> link = debug_link(elf);
    std::string location = elf.location();
    for (const std::string &path : roots) {
        Fd root(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!root)
            continue;
        if (id && id->size() > 2) {
            std::string name = id->substr(0, 2) + "/" + id->substr(2) + ".debug";
            auto found = open_debug(open_beneath(root, "usr/lib/debug/.build-id/" + name));
            if (belongs(found.get(), id, std::nullopt))
                return found;
        }
        if (!link || location.empty() || location[0] != '/')
            continue;
        std::string directory = directory_in(location, root);
        for (const std::string &where : {directory + link->name, directory + ".debug/" + link->name,
                                         "/usr/lib/debug" + directory + link->name}) {
            auto found = open_debug(open_beneath(root, where));
            if (belongs(found.get(), id, link->checksum))
                return found;
        }
    }
    return nullptr;
}

std::unique_ptr<ElfFile> embedded_debug_data(const ElfFile &elf) {
    const Section *section = elf.section(".gnu_debugdata");
    if (!section)
        return nullptr;
    return std::make_unique<ElfFile>(
        ElfFile::debug(unxz_all(elf.contents(*section), MOST_EMBEDDED)));
}
