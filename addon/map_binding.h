// BpfMap.
#pragma once

#include <napi.h>

#include <memory>

#include "handles.h"
#include "maps.h"

Napi::Function define_map(Napi::Env env);

// The map of a BpfMap; a TypeError for anything else.
std::shared_ptr<Map> map_of(Napi::Value value);
