package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"example.com/shop/truth"
)

// ArchiveHandler writes to a file, and to the client before it returns: what the kernel does for
// each of its functions is known.
type ArchiveHandler struct{ shop *Shop }

func (h *ArchiveHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer truth.Enter(r.Context(), "main.(*ArchiveHandler).ServeHTTP")()
	if err := h.shop.archive(r.Context(), number(r, "lines", 3)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, "archived")
}

// archive writes the first line itself, within a span of its own.
func (s *Shop) archive(ctx context.Context, lines int) error {
	defer truth.Enter(ctx, "main.(*Shop).archive")()
	file, err := os.CreateTemp("", "shop")
	if err != nil {
		return err
	}
	_, span := s.tracer.Start(ctx, "archive")
	defer span.End()
	_, err = io.WriteString(file, "title\n")
	for i := 0; i < lines && err == nil; i++ {
		err = store(file, "a line\n")
	}
	file.Close()
	os.Remove(file.Name())
	return err
}

func store(file *os.File, line string) error {
	defer truth.Enter(nil, "main.store")()
	_, err := io.WriteString(file, line)
	return err
}

func answer(w http.ResponseWriter, text string) {
	defer truth.Enter(nil, "main.answer")()
	fmt.Fprintln(w, text)
	w.(http.Flusher).Flush()
}
