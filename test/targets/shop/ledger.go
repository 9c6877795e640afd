package main

import (
	"context"
	"hash/crc32"
	"time"

	"go.opentelemetry.io/otel/trace"

	"example.com/fault"
	"example.com/shop/truth"
)

const largestBatch = 8

// Ledger writes receipts in batches, so one call works for several traces.
type Ledger struct {
	io      time.Duration
	entries chan entry
}

type entry struct {
	ctx     context.Context
	span    trace.Span
	receipt *Receipt
}

func newLedger(io time.Duration) *Ledger {
	defer truth.Enter(nil, "main.newLedger")()
	l := &Ledger{io: io, entries: make(chan entry, 1024)}
	go func() {
		defer truth.Enter(nil, "main.newLedger.func1")()
		for first := range l.entries {
			l.drain(first.ctx, first)
		}
	}()
	return l
}

func (l *Ledger) post(ctx context.Context, e entry) {
	defer truth.Enter(ctx, "main.(*Ledger).post")()
	fault.Here(ctx, "main.(*Ledger).post")
	l.entries <- e
}

// drain begins in the trace of one entry and goes on with those of others.
func (l *Ledger) drain(ctx context.Context, first entry) {
	defer truth.Enter(ctx, "main.(*Ledger).drain")()
	simulate(l.io)
	l.record(ctx, first)
	for range largestBatch - 1 {
		select {
		case next := <-l.entries:
			l.record(next.ctx, next)
		default:
			return
		}
	}
}

// record ends a span that another goroutine has started and forgotten.
func (l *Ledger) record(ctx context.Context, e entry) {
	defer truth.Enter(ctx, "main.(*Ledger).record")()
	defer e.span.End()
	checksum(e.receipt)
}

// audit is what others wait for where there is a lock that it holds.
func (l *Ledger) audit(ctx context.Context) {
	defer truth.Enter(ctx, "main.(*Ledger).audit")()
	fault.Hold()
}

func checksum(receipt *Receipt) uint32 {
	defer truth.Enter(nil, "main.checksum")()
	return crc32.ChecksumIEEE([]byte(receipt.Authorisation))
}
