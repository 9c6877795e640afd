#include "object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "kernel_api.h"
#include "memlock.h"
#include "relocation_types.h"

// What libbpf complained about on this thread: it says more than its errno does.
static thread_local std::string complaints;

static int keep_complaint(enum libbpf_print_level level, const char *format, va_list arguments) {
    if (level != LIBBPF_WARN || complaints.size() > 4096)
        return 0;
    char text[512];
    vsnprintf(text, sizeof(text), format, arguments);
    complaints += text;
    return 0;
}

struct ObjectCloser {
    void operator()(bpf_object *object) const { bpf_object__close(object); }
};
using OpenObject = std::unique_ptr<bpf_object, ObjectCloser>;

// Pages of it that the verifier does not write cost nothing.
class VerifierLog {
  public:
    VerifierLog()
        : text_(static_cast<char *>(
              mmap(nullptr, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
        if (text_ == MAP_FAILED)
            throw failure_of("BPF_FAILED", "No memory for the verifier's log", errno);
    }
    ~VerifierLog() { munmap(text_, SIZE); }
    VerifierLog(const VerifierLog &) = delete;
    char *data() { return text_; }
    std::string text() const { return std::string(text_, strnlen(text_, SIZE)); }
    // Linux 5.10 takes up to 2^30 - 1 bytes.
    static constexpr size_t SIZE = 16 << 20;

  private:
    char *text_;
};

static std::vector<std::string> lines_of(const std::string &text) {
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size();) {
        size_t end = text.find('\n', at);
        if (end == std::string::npos)
            end = text.size();
        if (end > at)
            lines.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

static bool is_verifier_statistic(const std::string &line) {
    for (const char *prefix : {"processed ", "verification time ", "stack depth "})
        if (line.rfind(prefix, 0) == 0)
            return true;
    return false;
}

std::string last_useful_lines(const std::string &log) {
    constexpr size_t KEPT = 16;
    std::vector<std::string> lines = lines_of(log);
    while (!lines.empty() && is_verifier_statistic(lines.back()))
        lines.pop_back();
    size_t omitted = lines.size() > KEPT ? lines.size() - KEPT : 0;
    std::string text;
    if (omitted != 0)
        text = "(" + std::to_string(omitted) + " lines omitted)\n";
    for (size_t i = omitted; i < lines.size(); i++)
        text += lines[i] + (i + 1 < lines.size() ? "\n" : "");
    return text;
}

static std::string section_of(const bpf_program *program) {
    return bpf_program__section_name(program);
}

static bool is_uprobe(const bpf_program *program) {
    return section_of(program).rfind("uprobe", 0) == 0;
}

bpf_attach_type attach_type_of(const std::string &section) {
    return section == "uprobe/session" ? TRACE_UPROBE_SESSION : TRACE_UPROBE_MULTI;
}

static void prepare_for_kernel(bpf_program *program, const ObjectOptions &options) {
    const std::string section = section_of(program);
    if (section == "kprobe" && options.kprobe_multi)
        bpf_program__set_expected_attach_type(program, TRACE_KPROBE_MULTI);
    if (!options.kernel_function || !bpf_program__autoload(program) ||
        (section != "fentry" && section != "fexit"))
        return;
    int error = bpf_program__set_attach_target(program, 0, options.kernel_function->c_str());
    if (error != 0)
        throw failure_of("ATTACH_FAILED",
                         "The kernel's types do not know " + *options.kernel_function, -error);
}

static bool ends_in_settings(const std::string &name) {
    static const std::string suffix = "_settings";
    return name == "settings" ||
           (name.size() > suffix.size() &&
            name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0);
}

// Overwrites the object's settings where libbpf keeps .rodata until it is loaded.
static void write_settings(bpf_object *object, const std::vector<uint8_t> &settings) {
    const btf *types = bpf_object__btf(object);
    int section =
        types != nullptr ? btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC) : -1;
    bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
    size_t size = 0;
    auto *data =
        map != nullptr
            ? static_cast<uint8_t *>(const_cast<void *>(bpf_map__initial_value(map, &size)))
            : nullptr;
    if (section < 0 || data == nullptr)
        throw NativeFailure{"BPF_FAILED", "The BPF object has no settings", 0, ""};
    const btf_type *type = btf__type_by_id(types, section);
    const btf_var_secinfo *variables = btf_var_secinfos(type);
    for (uint32_t i = 0; i < btf_vlen(type); i++) {
        const btf_type *variable = btf__type_by_id(types, variables[i].type);
        if (!ends_in_settings(btf__name_by_offset(types, variable->name_off)))
            continue;
        if (variables[i].size != settings.size() || variables[i].offset > size ||
            size - variables[i].offset < settings.size())
            throw NativeFailure{"BPF_FAILED",
                                "Settings of " + std::to_string(settings.size()) +
                                    " bytes, but the BPF object has " +
                                    std::to_string(variables[i].size) + ": rebuild it",
                                0, ""};
        std::memcpy(data + variables[i].offset, settings.data(), settings.size());
        return;
    }
    throw NativeFailure{"BPF_FAILED", "The BPF object has no settings", 0, ""};
}

static int make_perf_buffers(bpf_map *map) {
    if (bpf_map__type(map) != BPF_MAP_TYPE_RINGBUF)
        return -EINVAL;
    int error = bpf_map__set_type(map, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    if (error == 0)
        error = bpf_map__set_key_size(map, sizeof(uint32_t));
    if (error == 0)
        error = bpf_map__set_value_size(map, sizeof(uint32_t));
    int cpus = libbpf_num_possible_cpus();
    return error != 0 ? error : cpus < 0 ? cpus : bpf_map__set_max_entries(map, cpus);
}

static void change_map(bpf_object *object, const MapChange &change) {
    bpf_map *map = bpf_object__find_map_by_name(object, change.name.c_str());
    if (map == nullptr)
        throw NativeFailure{"BPF_FAILED", "The BPF object has no map " + change.name, 0, ""};
    int error = 0;
    if (change.perf_buffers || change.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
        error = make_perf_buffers(map);
    if (error == 0 && change.reuse) {
        if (change.key_size != bpf_map__key_size(map) ||
            change.value_size != bpf_map__value_size(map) || change.type != bpf_map__type(map))
            throw NativeFailure{"BPF_FAILED",
                                "The map given for " + change.name + " is of another kind", 0, ""};
        error = bpf_map__reuse_fd(map, change.reuse.get());
    } else if (error == 0 && change.max_entries) {
        error = bpf_map__set_max_entries(map, *change.max_entries);
    }
    if (error != 0)
        throw failure_of("BPF_FAILED", "Cannot set up map " + change.name, -error);
}

static void choose_programs(bpf_object *object, const std::vector<std::string> &wanted) {
    bpf_program *program;
    bpf_object__for_each_program(program, object) bpf_program__set_autoload(program, false);
    for (const std::string &name : wanted) {
        program = bpf_object__find_program_by_name(object, name.c_str());
        if (program == nullptr)
            throw NativeFailure{"BPF_FAILED", "The BPF object has no program " + name, 0, ""};
        bpf_program__set_autoload(program, true);
    }
}

// libbpf names the program it failed at: "libbpf: prog 'NAME': BPF program load failed: …".
static std::string failed_program() {
    static const std::string before = "prog '";
    size_t at = complaints.find(before);
    if (at == std::string::npos)
        return "a BPF program";
    at += before.size();
    return "program " + complaints.substr(at, complaints.find('\'', at) - at);
}

static NativeFailure load_failure(const std::string &path, int error, const VerifierLog &log) {
    std::string why = last_useful_lines(log.text());
    if (!why.empty() && error != EPERM) {
        size_t last_line = why.rfind('\n');
        NativeFailure failure{
            "BPF_REFUSED",
            "The kernel's verifier refused " + failed_program() + ": " +
                (last_line == std::string::npos ? why : why.substr(last_line + 1)),
            error, why};
        return failure;
    }
    if (auto limited = locked_memory_failure(error))
        return *limited;
    NativeFailure failure = failure_of("BPF_FAILED", "Cannot load " + path, error);
    failure.log = last_useful_lines(complaints);
    return failure;
}

static void keep_loaded(bpf_object *object, Object &kept) {
    bpf_program *program;
    bpf_object__for_each_program(program, object) {
        if (!bpf_program__autoload(program))
            continue;
        kept.programs.push_back({bpf_program__name(program), section_of(program),
                                 Fd::copy_of(bpf_program__fd(program))});
    }
    bpf_map *map;
    bpf_object__for_each_map(map, object) {
        if (!bpf_map__is_internal(map))
            kept.maps.push_back(
                std::make_shared<Map>(bpf_map__name(map), Fd::copy_of(bpf_map__fd(map))));
    }
}

Object load_object(const ObjectOptions &options) {
    libbpf_set_print(keep_complaint);
    complaints.clear();
    LIBBPF_OPTS(bpf_object_open_opts, how);
    std::string types = relocation_types_for(options.path);
    if (!types.empty())
        how.btf_custom_path = types.c_str();
    OpenObject object(bpf_object__open_file(options.path.c_str(), &how));
    if (!object) {
        NativeFailure failure =
            failure_of("BPF_FAILED", "Cannot open the BPF object " + options.path, errno);
        failure.log = last_useful_lines(complaints);
        throw failure;
    }
    if (options.settings)
        write_settings(object.get(), *options.settings);
    for (const MapChange &change : options.maps)
        change_map(object.get(), change);
    if (options.programs)
        choose_programs(object.get(), *options.programs);

    VerifierLog log;
    bpf_program *program;
    bpf_object__for_each_program(program, object.get()) {
        bpf_program__set_log_buf(program, log.data(), VerifierLog::SIZE);
        prepare_for_kernel(program, options);
        if (!is_uprobe(program))
            continue;
        if (options.multi)
            bpf_program__set_expected_attach_type(program, attach_type_of(section_of(program)));
        if (options.sleepable)
            bpf_program__set_flags(program, bpf_program__flags(program) | BPF_F_SLEEPABLE);
    }
    int error = bpf_object__load(object.get());
    if (error != 0)
        throw load_failure(options.path, -error, log);
    Object kept;
    keep_loaded(object.get(), kept);
    return kept;
}
