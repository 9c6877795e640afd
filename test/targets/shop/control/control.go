// Package control is what a test asks the shop. It is a package of its own, without spans, so
// that asking leaves no mark on a trace of `main.*`.
package control

import (
	"encoding/json"
	"net/http"

	"example.com/shop/telemetry"
	"example.com/shop/truth"
)

// Handler answers /health, /counters, /flush and /fault, and passes on the rest. It is no ServeMux, since
// calls of that are counted and these would be among them; and no function literal, since that
// would be named after the function of package main into which its maker is inlined.
type Handler struct {
	Telemetry *telemetry.Telemetry
	Rest      http.Handler
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		w.Write([]byte("ok\n"))
	case "/counters":
		counters(w, h.Telemetry)
	case "/flush":
		flush(w, r, h.Telemetry)
	case "/fault":
		setFault(w, r)
	default:
		h.Rest.ServeHTTP(w, r)
	}
}

func counters(w http.ResponseWriter, t *telemetry.Telemetry) {
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"calls": truth.Calls(),
		"spans": map[string]uint64{
			"started":  t.Spans.Started.Load(),
			"ended":    t.Spans.Ended.Load(),
			"exported": t.Spans.Exported.Load(),
			"failed":   t.Spans.Failed.Load(),
		},
	})
}

func flush(w http.ResponseWriter, r *http.Request, t *telemetry.Telemetry) {
	if err := t.Flush(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if err := truth.Flush(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write([]byte("flushed\n"))
}
