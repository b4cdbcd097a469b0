// The only reader of JavaScript values. checks.ts has checked them before and speaks to the user; what is
// checked here again is what memory safety hangs on, whoever calls. A failed read throws a JavaScript
// TypeError and returns false: the caller returns at once. Beside it, the JavaScript values that set-up calls
// answer with.
#ifndef TUNTAP2_ARGUMENTS_H_
#define TUNTAP2_ARGUMENTS_H_

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "columns.h"
#include "failure.h"

namespace tuntap2 {

// In a worker that is being terminated no call into JavaScript succeeds any more, and node-addon-api ends the
// whole process when not even its exception can be thrown. A set-up call can be in the kernel at that moment.
// So the three calls that can fail that way go by their C names, unchecked: nobody is left to look at the
// result.
inline bool Refuse(Napi::Env env, const std::string& why) {
  napi_throw_type_error(env, nullptr, ("node-tuntap2: " + why).c_str());
  return false;
}

inline Napi::Value GetProperty(const Napi::Object& object, const char* name) {
  napi_value value = nullptr;  // stays so if a getter throws: no reader below takes that for a number
  napi_get_named_property(object.Env(), object, name, &value);
  return Napi::Value(object.Env(), value);
}

inline void SetProperty(const Napi::Object& object, const char* name, const Napi::Value& value) {
  napi_set_named_property(object.Env(), object, name, value);
}

inline void SetFlag(const Napi::Object& object, const char* name, bool flag) {
  SetProperty(object, name, Napi::Boolean::New(object.Env(), flag));
}

inline void SetProperty(const Napi::Object& object, const char* name, double number) {
  SetProperty(object, name, Napi::Number::New(object.Env(), number));
}

inline void SetProperty(const Napi::Object& object, const char* name, const char* text) {
  SetProperty(object, name, Napi::String::New(object.Env(), text));
}

// A whole number within [lowest, highest].
inline bool ReadWhole(const Napi::Value& value, const char* name, double lowest, double highest,
                      double* out) {
  const double number =
      value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::numeric_limits<double>::quiet_NaN();
  if (!(number >= lowest && number <= highest) || std::floor(number) != number) {
    return Refuse(value.Env(), std::string(name) + " is not a whole number in its range");
  }
  *out = number;
  return true;
}

inline bool ReadU32(const Napi::Value& value, const char* name, uint32_t* out) {
  double number = 0;
  if (!ReadWhole(value, name, 0, std::numeric_limits<uint32_t>::max(), &number)) return false;
  *out = static_cast<uint32_t>(number);
  return true;
}

// An i32 that is -1 (absent) or more.
inline bool ReadOptionalI32(const Napi::Value& value, const char* name, int* out) {
  double number = 0;
  if (!ReadWhole(value, name, -1, std::numeric_limits<int>::max(), &number)) return false;
  *out = static_cast<int>(number);
  return true;
}

inline bool ReadDescriptor(const Napi::Value& value, const char* name, int* out) {
  double number = 0;
  if (!ReadWhole(value, name, 0, std::numeric_limits<int>::max(), &number)) return false;
  *out = static_cast<int>(number);
  return true;
}

// Any number but NaN.
inline bool ReadDouble(const Napi::Value& value, const char* name, double* out) {
  if (!value.IsNumber() || std::isnan(value.As<Napi::Number>().DoubleValue())) {
    return Refuse(value.Env(), std::string(name) + " is not a number");
  }
  *out = value.As<Napi::Number>().DoubleValue();
  return true;
}

inline bool ReadFlag(const Napi::Value& value, const char* name, bool* out) {
  if (!value.IsBoolean()) return Refuse(value.Env(), std::string(name) + " is not a boolean");
  *out = value.As<Napi::Boolean>().Value();
  return true;
}

inline bool ReadText(const Napi::Value& value, const char* name, size_t most_bytes, std::string* out) {
  if (!value.IsString()) return Refuse(value.Env(), std::string(name) + " is not a string");
  *out = value.As<Napi::String>().Utf8Value();
  if (out->size() > most_bytes) return Refuse(value.Env(), std::string(name) + " is too long");
  return true;
}

// A copy of a Uint8Array of at most `most_bytes`.
inline bool ReadBytes(const Napi::Value& value, const char* name, size_t most_bytes, uint8_t* out,
                      size_t* length) {
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  size_t size = 0;
  const bool is_array = value.IsTypedArray() && napi_get_typedarray_info(value.Env(), value, &type, &size,
                                                                         &data, nullptr, nullptr) == napi_ok;
  if (!is_array || type != napi_uint8_array) {
    return Refuse(value.Env(), std::string(name) + " is not a Uint8Array");
  }
  if (size > most_bytes) return Refuse(value.Env(), std::string(name) + " is too long");
  if (size > 0) std::memcpy(out, data, size);
  *length = size;
  return true;
}

// The memory of this call. A detached ArrayBuffer has length 0; a shared one is none of ours, because another
// thread could change an entry between its check and its use.
inline bool ReadMemory(const Napi::Value& value, Memory* out) {
  if (!value.IsArrayBuffer()) return Refuse(value.Env(), "memory is not an ArrayBuffer");
  void* base = nullptr;
  size_t size = 0;
  const napi_status status = napi_get_arraybuffer_info(value.Env(), value, &base, &size);
  if (status != napi_ok || size == 0) return Refuse(value.Env(), "memory has length 0: it is detached");
  *out = Memory(static_cast<uint8_t*>(base), size);
  return true;
}

// The column at `place` of the memory in argument 0.
template <typename Entry>
bool ReadColumn(const Napi::CallbackInfo& info, const ColumnPlace& place, Column<Entry>* out) {
  Memory memory;
  if (!ReadMemory(info[0], &memory)) return false;
  if (!out->Open(memory, place)) return Refuse(info.Env(), "the column ends behind the memory");
  return true;
}

// How many entries of the column to take, in argument 1.
template <typename Entry>
bool ReadCount(const Napi::CallbackInfo& info, const Column<Entry>& column, uint32_t* out) {
  double number = 0;
  if (!ReadWhole(info[1], "count", 0, column.slots(), &number)) return false;
  *out = static_cast<uint32_t>(number);
  return true;
}

// A column's place, in two properties of an options object.
inline bool ReadPlace(const Napi::Object& options, const char* offset, const char* slots, ColumnPlace* out) {
  return ReadU32(GetProperty(options, offset), offset, &out->offset) &&
         ReadU32(GetProperty(options, slots), slots, &out->slots);
}

// { errno, syscall }: addon.ts makes the Error of it, for it knows what was attempted.
inline Napi::Value FailureValue(Napi::Env env, const Failure& failure) {
  const Napi::Object value = Napi::Object::New(env);
  SetProperty(value, "errno", -failure.error);
  SetProperty(value, "syscall", failure.syscall);
  return value;
}

}  // namespace tuntap2

#endif  // TUNTAP2_ARGUMENTS_H_
