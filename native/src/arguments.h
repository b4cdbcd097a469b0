// The only reader of JavaScript values. index.ts has checked them before and speaks to the user; what is
// checked here again is what memory safety hangs on, whoever calls. A failed read throws a JavaScript
// TypeError and returns false: the caller returns at once. Beside it, the JavaScript values that set-up calls
// answer with.
#ifndef TUNTAP2_ARGUMENTS_H_
#define TUNTAP2_ARGUMENTS_H_

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "columns.h"
#include "failure.h"

namespace tuntap2 {

inline bool Refuse(Napi::Env env, const std::string& why) {
  Napi::TypeError::New(env, "node-tuntap2: " + why).ThrowAsJavaScriptException();
  return false;
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

inline bool ReadText(const Napi::Value& value, const char* name, size_t most_bytes, std::string* out) {
  if (!value.IsString()) return Refuse(value.Env(), std::string(name) + " is not a string");
  *out = value.As<Napi::String>().Utf8Value();
  if (out->size() > most_bytes) return Refuse(value.Env(), std::string(name) + " is too long");
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
  return ReadU32(options.Get(offset), offset, &out->offset) &&
         ReadU32(options.Get(slots), slots, &out->slots);
}

// { errno, syscall }: index.ts makes the Error of it, for it knows what was attempted.
inline Napi::Value FailureValue(Napi::Env env, const Failure& failure) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("errno", -failure.error);
  value.Set("syscall", failure.syscall);
  return value;
}

}  // namespace tuntap2

#endif  // TUNTAP2_ARGUMENTS_H_
