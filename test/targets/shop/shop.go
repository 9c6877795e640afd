package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"example.com/fault"
	"example.com/shop/truth"
)

type Line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Price    int64  `json:"price"`
}

type Cart struct {
	Lines []Line `json:"lines"`
}

type Order struct {
	Number   uint64 `json:"number"`
	Customer string `json:"customer"`
	Card     string `json:"card"`
	Coupon   string `json:"coupon"`
	Cart     Cart   `json:"cart"`
}

type Receipt struct {
	Order         uint64 `json:"order"`
	Total         int64  `json:"total"`
	Fee           int64  `json:"fee"`
	Authorisation string `json:"authorisation"`
}

type Shop struct {
	tracer   trace.Tracer
	numbers  atomic.Uint64
	coupons  map[string]*Discount
	stock    *Stock
	payments *Payments
	ledger   *Ledger
}

// NewShop starts the shop's workers. Simulated I/O takes io each time.
func NewShop(tracer trace.Tracer, io time.Duration) *Shop {
	defer truth.Enter(nil, "main.NewShop")()
	fault.Row = fetchRow
	return &Shop{
		tracer:   tracer,
		coupons:  newCoupons(),
		stock:    newStock(tracer, io),
		payments: newPayments(tracer, io),
		ledger:   newLedger(io),
	}
}

var errEmptyCart = errors.New("the cart is empty")

func (s *Shop) PlaceOrder(ctx context.Context, order *Order) (*Receipt, error) {
	defer truth.Enter(ctx, "main.(*Shop).PlaceOrder")()
	fault.Here(ctx, "main.(*Shop).PlaceOrder")
	order.Number = s.numbers.Add(1)
	outer := ctx
	ctx, span := s.tracer.Start(ctx, "place order", trace.WithAttributes(
		attribute.Int64("shop.order.number", int64(order.Number)),
		attribute.String("shop.customer", order.Customer)))
	defer span.End()

	if err := order.validate(); err != nil {
		return nil, fail(span, err)
	}
	total := s.applyCoupon(order.Coupon, order.Cart.Total())
	if err := s.reserveStock(ctx, order); err != nil {
		return nil, fail(span, err)
	}
	// With a context from before the span above: its parent is the call all the same.
	s.audit(outer, "stock", order)
	authorisation, err := s.pay(ctx, order, total)
	if err != nil {
		return nil, fail(span, err)
	}
	receipt := &Receipt{order.Number, total, fee(total), authorisation}
	s.confirm(ctx, order, receipt)
	return receipt, nil
}

func (o *Order) validate() error {
	defer truth.Enter(nil, "main.(*Order).validate")()
	fault.Here(nil, "main.(*Order).validate")
	if len(o.Cart.Lines) == 0 {
		return errEmptyCart
	}
	return fault.Failing("main.(*Order).validate", o.Customer)
}

// Total has a value receiver, so the compiler adds a (*Cart).Total, which nobody calls.
func (c Cart) Total() int64 {
	defer truth.Enter(nil, "main.Cart.Total")()
	fault.Here(nil, "main.Cart.Total")
	prices := make([]int64, len(c.Lines))
	for i, line := range c.Lines {
		prices[i] = int64(line.Quantity) * line.Price
	}
	return Sum(prices)
}

// Sum is generic: its one body has a dictionary as first argument, and `main.Sum[...]` for a name.
func Sum[T int64 | float64](values []T) (sum T) {
	defer truth.Enter(nil, "main.Sum[...]")()
	fault.Here(nil, "main.Sum[...]")
	for _, value := range values {
		sum += value
	}
	return sum
}

func fail(span trace.Span, err error) error {
	defer truth.Enter(nil, "main.fail")()
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
	return err
}

func (s *Shop) audit(ctx context.Context, what string, order *Order) {
	defer truth.Enter(ctx, "main.(*Shop).audit")()
	fault.Here(ctx, "main.(*Shop).audit")
	trace.SpanFromContext(ctx).AddEvent("audit", trace.WithAttributes(
		attribute.String("shop.audit.what", what),
		attribute.Int64("shop.order.number", int64(order.Number))))
}

// fee has neither a context nor an open span of its own: it belongs to whatever runs.
func fee(total int64) int64 {
	defer truth.Enter(nil, "main.fee")()
	fault.Here(nil, "main.fee")
	return total/50 + 30
}

func (s *Shop) pay(ctx context.Context, order *Order, total int64) (string, error) {
	defer truth.Enter(ctx, "main.(*Shop).pay")()
	fault.Here(ctx, "main.(*Shop).pay")
	// Ended by the goroutine that charges. This one waits meanwhile, so that which span is
	// current here is never a matter of luck.
	ctx, span := s.tracer.Start(ctx, "payment", trace.WithAttributes(
		attribute.Int64("shop.total", total)))
	answer := s.payments.submit(ctx, charge{order: order, amount: total, span: span})
	result := <-answer
	if result.err == nil {
		checkAuthorisation(result.authorisation)
	}
	return result.authorisation, result.err
}

func checkAuthorisation(authorisation string) bool {
	defer truth.Enter(nil, "main.checkAuthorisation")()
	fault.Here(nil, "main.checkAuthorisation")
	return len(authorisation) > 5
}

func (s *Shop) confirm(ctx context.Context, order *Order, receipt *Receipt) {
	defer truth.Enter(ctx, "main.(*Shop).confirm")()
	fault.Here(ctx, "main.(*Shop).confirm")
	book(order.Customer, "EUR", receipt.Total, receipt.Fee, 0, 0, int64(order.Number), ctx)
	// Nothing waits for the end of this span; from here on only functions with a context are
	// called in this request, since the current span of this goroutine is a race.
	ctx, span := s.tracer.Start(ctx, "ledger entry")
	s.ledger.post(ctx, entry{ctx, span, receipt})
}

// book has so many arguments that its context comes on the stack.
func book(
	account, currency string, total, fee, tax, tip, reference int64, ctx context.Context,
) int64 {
	defer truth.Enter(ctx, "main.book")()
	fault.Here(ctx, "main.book")
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("shop.account", account+"/"+currency))
	return total + fee + tax + tip + reference
}
