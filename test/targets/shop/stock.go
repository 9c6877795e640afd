package main

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"example.com/fault"
	"example.com/shop/truth"
)

const stockWorkers = 8

// Stock is asked through a channel by a pool of workers.
type Stock struct {
	tracer  trace.Tracer
	io      time.Duration
	jobs    chan stockJob
	refill  chan struct{}
	mutex   sync.Mutex
	reserve map[string]int
}

type stockJob struct {
	ctx    context.Context
	line   Line
	answer chan<- error
}

func newStock(tracer trace.Tracer, io time.Duration) *Stock {
	defer truth.Enter(nil, "main.newStock")()
	s := &Stock{
		tracer: tracer, io: io,
		jobs: make(chan stockJob, 256), refill: make(chan struct{}, 1),
		reserve: map[string]int{},
	}
	for range stockWorkers {
		go func() {
			defer truth.Enter(nil, "main.newStock.func1")()
			s.work()
		}()
	}
	go func() {
		defer truth.Enter(nil, "main.newStock.func2")()
		for range s.refill {
			s.restock()
		}
	}()
	return s
}

func (s *Shop) reserveStock(ctx context.Context, order *Order) error {
	defer truth.Enter(ctx, "main.(*Shop).reserveStock")()
	fault.Here(ctx, "main.(*Shop).reserveStock")
	ctx, span := s.tracer.Start(ctx, "reserve stock", trace.WithAttributes(
		attribute.Int("shop.lines", len(order.Cart.Lines))))
	defer span.End()
	if err := fault.Failing("main.(*Shop).reserveStock", order.Customer); err != nil {
		return err
	}
	lines := order.Cart.Lines
	answers := make(chan error, len(lines))
	for _, line := range lines {
		s.stock.jobs <- stockJob{ctx, line, answers}
	}
	var err error
	for range lines {
		if answer := <-answers; answer != nil {
			err = answer
		}
	}
	if order.Number%16 == 0 {
		s.stock.askRefill()
	}
	return err
}

// work runs for as long as the shop.
func (s *Stock) work() {
	defer truth.Enter(nil, "main.(*Stock).work")()
	for job := range s.jobs {
		job.answer <- s.take(job.ctx, job.line)
	}
}

func (s *Stock) take(ctx context.Context, line Line) error {
	defer truth.Enter(ctx, "main.(*Stock).take")()
	fault.Here(ctx, "main.(*Stock).take")
	_, span := s.tracer.Start(ctx, "take from stock", trace.WithAttributes(
		attribute.String("shop.sku", line.SKU)))
	defer span.End()
	if err := fault.Failing("main.(*Stock).take", line.SKU); err != nil {
		return err
	}
	s.lookUp(line.SKU)
	return s.count(line.SKU, line.Quantity)
}

// lookUp and count find their parent through the goroutine's current span alone.
func (s *Stock) lookUp(sku string) int {
	defer truth.Enter(nil, "main.(*Stock).lookUp")()
	fault.Here(nil, "main.(*Stock).lookUp")
	simulate(s.io)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.reserve[sku]
}

func (s *Stock) count(sku string, quantity int) error {
	defer truth.Enter(nil, "main.(*Stock).count")()
	fault.Here(nil, "main.(*Stock).count")
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.reserve[sku] -= quantity
	return fault.Failing("main.(*Stock).count", sku)
}

func (s *Stock) askRefill() {
	defer truth.Enter(nil, "main.(*Stock).askRefill")()
	select {
	case s.refill <- struct{}{}:
	default:
	}
}

// fetchRow is one of many small calls, where a fault makes them.
func fetchRow() {
	defer truth.Enter(nil, "main.fetchRow")()
	time.Sleep(300 * time.Microsecond)
}

// restock belongs to no request.
func (s *Stock) restock() {
	defer truth.Enter(nil, "main.(*Stock).restock")()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for sku := range s.reserve {
		s.reserve[sku] = 1000
	}
}

// simulate waits as a call to another service would.
func simulate(io time.Duration) {
	defer truth.Enter(nil, "main.simulate")()
	fault.Here(nil, "main.simulate")
	if io > 0 {
		time.Sleep(io)
	}
}
