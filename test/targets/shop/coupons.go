package main

import (
	"example.com/fault"
	"example.com/shop/truth"
)

// Discount is a tree: a discount and those that can be had instead.
type Discount struct {
	percent      int64
	from         int64
	alternatives []*Discount
}

func newCoupons() map[string]*Discount {
	defer truth.Enter(nil, "main.newCoupons")()
	staff := &Discount{percent: 20, from: 5_000}
	seasonal := &Discount{percent: 12, from: 2_000, alternatives: []*Discount{staff}}
	return map[string]*Discount{
		"WELCOME": {percent: 5, alternatives: []*Discount{seasonal, {percent: 8, from: 9_000}}},
		"TEN":     {percent: 10},
	}
}

func (s *Shop) applyCoupon(code string, total int64) int64 {
	defer truth.Enter(nil, "main.(*Shop).applyCoupon")()
	fault.Here(nil, "main.(*Shop).applyCoupon")
	coupon, ok := s.coupons[code]
	if !ok {
		return total
	}
	return coupon.best(total)
}

// best recurses over the tree.
func (d *Discount) best(total int64) int64 {
	defer truth.Enter(nil, "main.(*Discount).best")()
	fault.Here(nil, "main.(*Discount).best")
	lowest := total
	if total >= d.from {
		lowest = total - total*d.percent/100
	}
	for _, other := range d.alternatives {
		lowest = min(lowest, other.best(total))
	}
	return lowest
}
