#include "native_binding.h"

#include "conversions.h"

// A type's id crosses as text, so that nobody counts with it.
static Napi::Value to_id(Napi::Env env, const std::optional<uint64_t> &type) {
    if (!type)
        return env.Null();
    return Napi::String::New(env, *type == native::NO_TYPE ? "void" : std::to_string(*type));
}

static Napi::Value to_native_parameter(Napi::Env env, const native::Parameter &parameter) {
    const native::Place &place = parameter.place;
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", parameter.name);
    object.Set("type", to_id(env, parameter.type));
    object.Set("result", parameter.is_result);
    object.Set("pieces", to_array(env, place.pieces, [](Napi::Env env, const native::Piece &piece) {
                   Napi::Object object = Napi::Object::New(env);
                   object.Set("offset", static_cast<double>(piece.offset));
                   object.Set("size", static_cast<double>(piece.size));
                   object.Set("register", piece.reg);
                   return object;
               }));
    object.Set("stackOffset", number_or_null(env, place.stack_offset));
    object.Set("isAddress", place.is_address);
    object.Set("problem",
               parameter.problem.empty() ? env.Null() : to_value(env, parameter.problem));
    return object;
}

Napi::Value to_native_function(Napi::Env env, const std::optional<native::Function> &function) {
    if (!function)
        return env.Null();
    Napi::Object object = Napi::Object::New(env);
    object.Set("language", function->language);
    object.Set("parameters", to_array(env, function->parameters, to_native_parameter));
    return object;
}

static Napi::Value to_big(Napi::Env env, uint64_t number) { return Napi::BigInt::New(env, number); }

static Napi::Value to_native_field(Napi::Env env, const native::Field &field) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", field.name);
    object.Set("type", to_id(env, field.type));
    object.Set("offset", static_cast<double>(field.offset));
    object.Set("embedded", field.embedded);
    Napi::Object bits = Napi::Object::New(env);
    bits.Set("offset", field.bit_offset);
    bits.Set("size", field.bit_size);
    object.Set("bits", field.bit_size > 0 ? bits : env.Null());
    return object;
}

Napi::Value to_native_type(Napi::Env env, const native::Type &type) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", to_id(env, type.id));
    object.Set("name", type.name);
    object.Set("kind", native::kind_name(type.kind));
    object.Set("size", static_cast<double>(type.size));
    object.Set("isRust", type.is_rust);
    object.Set("isSigned", type.is_signed);
    object.Set("element", to_id(env, type.element));
    object.Set("count", number_or_null(env, type.count));
    object.Set("fields", to_array(env, type.fields, to_native_field));
    object.Set("names", to_array(env, type.names, [](Napi::Env env, const auto &named) {
                   Napi::Object object = Napi::Object::New(env);
                   object.Set("name", named.first);
                   object.Set("value", to_big(env, named.second));
                   return object;
               }));
    object.Set("discriminant",
               type.discriminant ? to_native_field(env, *type.discriminant) : env.Null());
    object.Set("variants",
               to_array(env, type.variants, [](Napi::Env env, const native::Variant &variant) {
                   Napi::Object object = Napi::Object::New(env);
                   object.Set("name", variant.name);
                   object.Set("value", variant.value ? to_big(env, *variant.value) : env.Null());
                   object.Set("type", to_id(env, variant.type));
                   object.Set("offset", static_cast<double>(variant.offset));
                   return object;
               }));
    object.Set("pointerAt", static_cast<double>(type.pointer_at));
    object.Set("holdsShort", type.holds_short);
    object.Set("lengthAt", static_cast<double>(type.length_at));
    object.Set("problem", type.problem.empty() ? env.Null() : to_value(env, type.problem));
    return object;
}
