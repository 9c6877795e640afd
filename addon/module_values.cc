#include "module_values.h"

#include <elf.h>

#include <algorithm>

static Napi::Float64Array to_numbers(Napi::Env env, const std::vector<double> &numbers) {
    auto array = Napi::Float64Array::New(env, numbers.size());
    std::copy(numbers.begin(), numbers.end(), array.Data());
    return array;
}

static Napi::Value to_parameter(Napi::Env env, const Parameter &parameter) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", parameter.name);
    object.Set("type", parameter.type);
    object.Set("result", parameter.result);
    object.Set("registers", to_array(env, parameter.registers, [](Napi::Env env, uint32_t word) {
                   return Napi::Number::New(env, word);
               }));
    object.Set("stackOffset", number_or_null(env, parameter.stack_offset));
    return object;
}

Napi::Value to_parameters(Napi::Env env, const std::optional<std::vector<Parameter>> &parameters) {
    return parameters ? to_array(env, *parameters, to_parameter).As<Napi::Value>() : env.Null();
}

Napi::Value to_inlined(Napi::Env env, const dwarf::Inlined &inlined) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", inlined.name);
    object.Set("into", to_array(env, inlined.into, to_value));
    object.Set("hasCode", inlined.has_code);
    return object;
}

Napi::Value to_interface_table(Napi::Env env, const InterfaceTable &table) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("type", table.type);
    object.Set("itab", static_cast<double>(table.itab));
    object.Set("typeAddress", number_or_null(env, table.type_address));
    object.Set("interfaceAddress", number_or_null(env, table.interface_address));
    return object;
}

Napi::Value to_type(Napi::Env env, const std::optional<TypeDescription> &type) {
    if (!type)
        return env.Null();
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", type->name);
    object.Set("kind", type->kind);
    object.Set("size", static_cast<double>(type->size));
    object.Set("element", text_or_null(env, type->element));
    object.Set("key", text_or_null(env, type->key));
    object.Set("count", number_or_null(env, type->count));
    object.Set("fields",
               to_array(env, type->fields, [](Napi::Env env, const TypeDescription::Field &field) {
                   Napi::Object object = Napi::Object::New(env);
                   object.Set("name", field.name);
                   object.Set("type", field.type);
                   object.Set("offset", static_cast<double>(field.offset));
                   object.Set("embedded", field.embedded);
                   return object;
               }));
    object.Set("methods", to_array(env, type->methods, to_value));
    return object;
}

Napi::Value to_line(Napi::Env env, const std::optional<SourceLine> &line) {
    if (!line)
        return env.Null();
    Napi::Object object = Napi::Object::New(env);
    object.Set("file", line->file);
    object.Set("line", static_cast<double>(line->line));
    return object;
}

Napi::Value to_thread_local(Napi::Env env, const std::optional<ThreadLocal> &variable) {
    if (!variable)
        return env.Null();
    Napi::Object object = Napi::Object::New(env);
    object.Set("offset", number_or_null(env, variable->offset));
    object.Set("slots",
               to_array(env, variable->slots, [](Napi::Env env, const ThreadLocal::Slot &slot) {
                   Napi::Object object = Napi::Object::New(env);
                   object.Set("kind", slot.kind);
                   object.Set("address", static_cast<double>(slot.address));
                   return object;
               }));
    return object;
}

static Napi::Value to_tls(Napi::Env env, const Segment *segment) {
    if (!segment)
        return env.Null();
    Napi::Object object = Napi::Object::New(env);
    object.Set("address", static_cast<double>(segment->address));
    object.Set("memorySize", static_cast<double>(segment->memory_size));
    object.Set("alignment", static_cast<double>(segment->alignment));
    return object;
}

Napi::Value to_functions(Napi::Env env, FunctionTable &table) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("names", table.names);
    object.Set("addresses", to_numbers(env, table.addresses));
    object.Set("sizes", to_numbers(env, table.sizes));
    object.Set("source", table.source);
    size_t count = table.addresses.size();
    if (table.signatures.empty() && count > 0)
        table.signatures.assign(count - 1, '\n');
    object.Set("signatures", table.signatures);
    auto kinds = Napi::Uint8Array::New(env, count);
    std::copy(table.kinds.begin(), table.kinds.end(), kinds.Data());
    object.Set("kinds", kinds);
    Napi::Object parts = Napi::Object::New(env);
    parts.Set("functions", to_numbers(env, table.parts.functions));
    parts.Set("addresses", to_numbers(env, table.parts.addresses));
    parts.Set("sizes", to_numbers(env, table.parts.sizes));
    object.Set("parts", parts);
    return object;
}

static Napi::Value to_go_facts(Napi::Env env, const ModuleFile::Facts &facts) {
    if (!facts.is_go)
        return env.Null();
    Napi::Object go = Napi::Object::New(env);
    Napi::Object modules = Napi::Object::New(env);
    go.Set("version", env.Null());
    go.Set("mainModule", env.Null());
    go.Set("modules", modules);
    if (facts.build_info) {
        go.Set("version", facts.build_info->version);
        if (facts.build_info->main_module)
            go.Set("mainModule", *facts.build_info->main_module);
        for (const auto &[path, version] : facts.build_info->modules)
            modules.Set(path, version);
    }
    return go;
}

Napi::Value to_facts(Napi::Env env, const ModuleFile &file) {
    const ModuleFile::Facts &facts = file.facts();
    std::vector<Segment> loaded;
    for (const Segment &segment : file.elf().segments())
        if (segment.type == PT_LOAD)
            loaded.push_back(segment);
    Napi::Object object = Napi::Object::New(env);
    object.Set("path", facts.path);
    object.Set("stamp", file.elf().stamp());
    object.Set("buildId", text_or_null(env, facts.build_id));
    object.Set("positionIndependent", file.elf().position_independent());
    object.Set("hasSymbols", facts.has_symbols);
    object.Set("hasDwarf", facts.has_dwarf);
    object.Set("segments", to_array(env, loaded, [](Napi::Env env, const Segment &segment) {
                   Napi::Object object = Napi::Object::New(env);
                   object.Set("address", static_cast<double>(segment.address));
                   object.Set("offset", static_cast<double>(segment.offset));
                   object.Set("fileSize", static_cast<double>(segment.file_size));
                   object.Set("memorySize", static_cast<double>(segment.memory_size));
                   object.Set("executable", (segment.flags & PF_X) != 0);
                   object.Set("writable", (segment.flags & PF_W) != 0);
                   return object;
               }));
    object.Set("interpreter", text_or_null(env, file.elf().interpreter()));
    object.Set("tls", to_tls(env, file.elf().segment_of_type(PT_TLS)));
    object.Set("go", to_go_facts(env, facts));
    return object;
}
