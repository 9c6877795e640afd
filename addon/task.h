// Work off the JavaScript thread, as a Promise.
#pragma once

#include <napi.h>

#include <functional>
#include <optional>
#include <utility>

#include "errors.h"

template <typename Result> class Task : public Napi::AsyncWorker {
  public:
    using Work = std::function<Result()>;
    using Convert = std::function<Napi::Value(Napi::Env, Result &)>;

    // `work` runs on a thread of libuv's pool and must not touch JavaScript; `convert` runs on
    // the JavaScript thread.
    static Napi::Promise start(Napi::Env env, Work work, Convert convert) {
        auto *task = new Task(env, std::move(work), std::move(convert));
        Napi::Promise promise = task->deferred_.Promise();
        task->Queue();
        return promise;
    }

  protected:
    void Execute() override {
        try {
            result_.emplace(work_());
        } catch (const NativeFailure &failure) {
            failure_ = failure;
        } catch (const std::exception &error) {
            failure_ = NativeFailure{"BPF_FAILED", error.what(), 0, ""};
        }
    }

    void OnOK() override {
        Napi::Env env = Env();
        Napi::HandleScope scope(env);
        if (failure_) {
            deferred_.Reject(to_js(env, *failure_).Value());
            return;
        }
        try {
            deferred_.Resolve(convert_(env, *result_));
        } catch (const Napi::Error &error) {
            deferred_.Reject(error.Value());
        } catch (const NativeFailure &failure) {
            deferred_.Reject(to_js(env, failure).Value());
        }
    }

  private:
    Task(Napi::Env env, Work work, Convert convert)
        : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)),
          work_(std::move(work)), convert_(std::move(convert)) {}

    Napi::Promise::Deferred deferred_;
    Work work_;
    Convert convert_;
    std::optional<Result> result_;
    std::optional<NativeFailure> failure_;
};
