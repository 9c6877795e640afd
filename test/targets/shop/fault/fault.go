// Package fault makes functions of the shop slow, or fail, on purpose. It is a module of its own,
// so that the shop's time in it is its callers', as with any library.
package fault

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Settings say what is wrong, and where.
type Settings struct {
	// One of Kinds.
	Kind string
	// Its name, as the shop gives it to Here or Failing.
	Function string
	// One call of so many is slow.
	Share uint64
	// How long it takes then, and of how many calls a burst consists.
	Duration time.Duration
	Times    int
	// Of whom requests are slow, or fail.
	Key string
}

// Row is one of the many small calls: a function of the shop's.
var Row func()

var (
	now   atomic.Pointer[state]
	kinds = map[string]func(*state, context.Context){
		"sleep":      (*state).sleep,
		"lock":       (*state).lock,
		"allocation": (*state).allocate,
		"calls":      (*state).call,
		"cpu":        (*state).burn,
		"tenant":     (*state).sleep,
		"error":      func(*state, context.Context) {},
		"pool":       (*state).wait,
		"network":    (*state).ask,
	}
)

type state struct {
	Settings
	apply  func(*state, context.Context)
	passed atomic.Uint64
	stop   chan struct{}
	// Of a pool: free workers.
	workers chan struct{}
	network *server
}

// Set replaces what was set before; without a kind nothing is wrong any more.
func Set(settings Settings) error {
	apply, ok := kinds[settings.Kind]
	if settings.Kind != "" && !ok {
		return fmt.Errorf("no such fault: %q", settings.Kind)
	}
	var next *state
	if ok {
		next = &state{Settings: settings, apply: apply, stop: make(chan struct{})}
		if err := next.prepare(); err != nil {
			return err
		}
	}
	if last := now.Swap(next); last != nil {
		close(last.stop)
	}
	return nil
}

// Here is where a function may be made slow. It is a call of its own also where nothing is wrong.
//
//go:noinline
func Here(ctx context.Context, function string) {
	if s := now.Load(); s != nil && s.Function == function && s.isDue(ctx) {
		s.apply(s, ctx)
	}
}

var errInjected = errors.New("injected: no such thing in the warehouse")

// Failing returns an error for one argument.
//
//go:noinline
func Failing(function, argument string) error {
	if s := now.Load(); s != nil && s.Kind == "error" && s.Function == function && s.Key == argument {
		return errInjected
	}
	return nil
}

// isDue tells whether this call is slow.
func (s *state) isDue(ctx context.Context) bool {
	switch s.Kind {
	// All calls wait for a lock, if another request holds it.
	case "lock":
		return true
	// Where there is one small call, there may be many.
	case "calls":
		if s.passed.Add(1)%s.Share != 0 {
			Row()
			return false
		}
		return true
	case "tenant":
		return TenantOf(ctx) == s.Key
	}
	return s.passed.Add(1)%s.Share == 0
}

type tenantKey struct{}

// WithTenant says whose request it is.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

func TenantOf(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}
