// What is known of a module as JavaScript values: src/native/module.ts.
#pragma once

#include "conversions.h"
#include "module.h"

Napi::Value to_parameters(Napi::Env env, const std::optional<std::vector<Parameter>> &parameters);
Napi::Value to_inlined(Napi::Env env, const dwarf::Inlined &inlined);
Napi::Value to_interface_table(Napi::Env env, const InterfaceTable &table);
Napi::Value to_type(Napi::Env env, const std::optional<TypeDescription> &type);
Napi::Value to_line(Napi::Env env, const std::optional<SourceLine> &line);
Napi::Value to_thread_local(Napi::Env env, const std::optional<ThreadLocal> &variable);
Napi::Value to_functions(Napi::Env env, FunctionTable &table);
Napi::Value to_facts(Napi::Env env, const ModuleFile &file);
