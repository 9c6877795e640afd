package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"example.com/fault"
	"example.com/shop/truth"
)

const paymentWorkers = 4

type Payments struct {
	tracer  trace.Tracer
	io      time.Duration
	charges chan queuedCharge
}

type charge struct {
	order  *Order
	amount int64
	span   trace.Span
}

type queuedCharge struct {
	ctx    context.Context
	charge charge
	answer chan<- payment
}

type payment struct {
	authorisation string
	err           error
}

func newPayments(tracer trace.Tracer, io time.Duration) *Payments {
	defer truth.Enter(nil, "main.newPayments")()
	p := &Payments{tracer: tracer, io: io, charges: make(chan queuedCharge, 256)}
	for range paymentWorkers {
		go func() {
			defer truth.Enter(nil, "main.newPayments.func1")()
			for queued := range p.charges {
				queued.answer <- p.process(queued.ctx, queued.charge)
			}
		}()
	}
	return p
}

// submit takes a large struct by value.
func (p *Payments) submit(ctx context.Context, c charge) <-chan payment {
	defer truth.Enter(ctx, "main.(*Payments).submit")()
	fault.Here(ctx, "main.(*Payments).submit")
	answer := make(chan payment, 1)
	p.charges <- queuedCharge{ctx, c, answer}
	return answer
}

// process ends the span that the request's goroutine has started.
func (p *Payments) process(ctx context.Context, c charge) payment {
	defer truth.Enter(ctx, "main.(*Payments).process")()
	fault.Here(ctx, "main.(*Payments).process")
	defer c.span.End()
	authorisation, err := Retry(ctx, 2, func(ctx context.Context) (string, error) {
		defer truth.Enter(ctx, "main.(*Payments).process.func1")()
		fault.Here(ctx, "main.(*Payments).process.func1")
		return p.authorise(ctx, c.order, c.amount)
	})
	if err != nil {
		return payment{err: fail(c.span, err)}
	}
	return payment{authorisation: authorisation}
}

var (
	errDeclined = errors.New("the payment was declined")
	errBusy     = errors.New("the bank is busy")
)

// Retry is generic and takes a context: its dictionary pushes the context one register on.
func Retry[T any](
	ctx context.Context, attempts int, attempt func(context.Context) (T, error),
) (result T, err error) {
	defer truth.Enter(ctx, "main.Retry[...]")()
	fault.Here(ctx, "main.Retry[...]")
	for range attempts {
		if result, err = attempt(ctx); !errors.Is(err, errBusy) {
			return result, err
		}
	}
	return result, err
}

// authorise declines every tenth order, and is busy at first for every seventh.
func (p *Payments) authorise(ctx context.Context, order *Order, amount int64) (string, error) {
	defer truth.Enter(ctx, "main.(*Payments).authorise")()
	fault.Here(ctx, "main.(*Payments).authorise")
	_, span := p.tracer.Start(ctx, "authorise")
	defer span.End()
	simulate(p.io)
	if err := fault.Failing("main.(*Payments).authorise", order.Customer); err != nil {
		return "", fail(span, err)
	}
	switch {
	case order.Number%10 == 0:
		return "", fail(span, errDeclined)
	case order.Number%7 == 0 && len(order.Card) > 0:
		order.Card = ""
		return "", errBusy
	}
	return "auth-" + strconv.FormatInt(amount, 36), nil
}
