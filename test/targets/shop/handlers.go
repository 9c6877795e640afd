package main

import (
	"encoding/json"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/trace"

	"example.com/fault"
	"example.com/shop/truth"
)

// TraceHeader tells the client which trace its request belongs to. Handlers are types, not method
// values: those would be called through a wrapper that truth cannot see into.
type TraceHeader struct{ mux *http.ServeMux }

func (h *TraceHeader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*TraceHeader).ServeHTTP")()
	fault.Here(r.Context(), "main.(*TraceHeader).ServeHTTP")
	w.Header().Set("x-trace-id", trace.SpanContextFromContext(r.Context()).TraceID().String())
	// On behalf of the standard library's function, which is often traced together with ours.
	defer truth.Enter(r.Context(), "net/http.(*ServeMux).ServeHTTP")()
	h.mux.ServeHTTP(w, r)
}

type OrderHandler struct{ shop *Shop }

func (h *OrderHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*OrderHandler).ServeHTTP")()
	fault.Here(r.Context(), "main.(*OrderHandler).ServeHTTP")
	order, err := parseOrder(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	receipt, err := h.shop.PlaceOrder(r.Context(), order)
	if err != nil {
		http.Error(w, err.Error(), http.StatusPaymentRequired)
		return
	}
	receipt.write(w, r)
}

// AuditHandler has nothing to do with orders.
type AuditHandler struct{ shop *Shop }

func (h *AuditHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*AuditHandler).ServeHTTP")()
	h.shop.ledger.audit(r.Context())
}

// parseOrder takes a JSON order, or makes one up from the query.
func parseOrder(r *http.Request) (*Order, error) {
	defer truth.Enter(r.Context(), "main.parseOrder")()
	fault.Here(r.Context(), "main.parseOrder")
	order := &Order{Customer: "c-17", Card: "4000 0000 0000 0002", Coupon: "WELCOME"}
	if tenant := fault.TenantOf(r.Context()); tenant != "" {
		order.Customer = tenant
	}
	if r.Method == http.MethodPost {
		return order, json.NewDecoder(r.Body).Decode(order)
	}
	items := number(r, "items", 2)
	for i := 0; i < items && i < 8; i++ {
		order.Cart.Lines = append(order.Cart.Lines, Line{
			SKU: "sku-" + strconv.Itoa(i), Quantity: i + 1, Price: 1250,
		})
	}
	return order, nil
}

// number reads a query parameter.
func number(r *http.Request, name string, otherwise int) int {
	defer truth.Enter(r.Context(), "main.number")()
	fault.Here(r.Context(), "main.number")
	if value, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return value
	}
	return otherwise
}

func (receipt *Receipt) write(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*Receipt).write")()
	fault.Here(r.Context(), "main.(*Receipt).write")
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(receipt)
}
