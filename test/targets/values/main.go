// Command values calls functions with arguments of every kind. What each is called with, and what
// it returns, follows from one number, so that a test can say what must have been read.
//
//	values ROUNDS
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type line struct {
	Name  string
	Count int32
}

type order struct {
	ID       string
	Lines    []line
	Total    float64
	Placed   time.Time
	Wait     time.Duration
	Password string
	First    line
	Next     *order
}

type refusal struct {
	code int
	msg  string
}

func (r *refusal) Error() string { return strconv.Itoa(r.code) + ": " + r.msg }

//go:noinline
func numbers(a int, b int8, c uint16, d bool, e int64, f float64, g [4]byte) (int, uint16, bool) {
	return a + int(f), c, !d
}

//go:noinline
func texts(s string, b []byte, list []int32, m map[string]int) (string, []int32) {
	return s + string(b), list[:len(list)/2]
}

//go:noinline
func structs(o *order, by line, when time.Time, wait time.Duration, what any, why error) (*order, time.Duration) {
	return o, wait
}

//go:noinline
func stacked(a, b, c, d, e, f, g, h, i, tenth int, text string) (string, int) {
	return text, tenth
}

// unused makes a young stack grow before it begins, and looks at none of its arguments: they are
// not saved meanwhile.
//
//go:noinline
func unused(n int, text string, list []int32) byte {
	var frame [1 << 16]byte
	return frame[len(os.Args)*17]
}

//go:noinline
func fails(n int) (int, error) {
	switch n % 5 {
	case 1:
		return n, errors.New("failed at " + strconv.Itoa(n))
	case 2:
		return n, fmt.Errorf("wrapped: %w", errors.New("inner"))
	case 3:
		return n, &refusal{n, "refused"}
	}
	return n, nil
}

// explode is unwound by a panic, and recovered by attempt.
//
//go:noinline
func explode(n int) int {
	switch n % 4 {
	case 0:
		panic("text " + strconv.Itoa(n))
	case 1:
		panic(errors.New("error " + strconv.Itoa(n)))
	case 2:
		var none []int
		return none[n]
	}
	panic(n)
}

//go:noinline
func attempt(n int) (said string) {
	defer func() { said = fmt.Sprint(recover()) }()
	return strconv.Itoa(explode(n))
}

type ledger struct{ name string }

type keeper interface {
	Keep(n int, text string) (string, error)
}

//go:noinline
func (l *ledger) Keep(n int, text string) (string, error) {
	if n%10 == 0 {
		return "", &refusal{n, text}
	}
	return l.name + text, nil
}

//go:noinline
func keep(k keeper, n int) { k.Keep(n, label(int64(n))) }

// carry is called from deep, moving stacks, many at a time.
//
//go:noinline
func carry(id int64, text string, list []int64) (int64, error) {
	if len(list) != 3 || text != label(id) {
		panic("broken")
	}
	if id%10 == 0 {
		return 0, errors.New("no " + text)
	}
	return id * 3, nil
}

func label(id int64) string { return "call " + strconv.FormatInt(id, 10) }

//go:noinline
func sink(depth int, id int64) byte {
	var frame [1024]byte
	frame[depth] = byte(id)
	if depth == 0 {
		carry(id, label(id), []int64{id, id + 1, id + 2})
		return frame[0]
	}
	return sink(depth-1, id) + frame[depth]
}

func main() {
	rounds := 10
	if len(os.Args) > 1 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	for n := 0; n < 8; n++ {
		numbers(-n, int8(n-4), uint16(n), n%2 == 0, int64(n)<<40, 1.5, [4]byte{1, 2, 3, byte(n)})
		name := strings.Repeat("é", 60*n)
		texts(name, []byte{byte(n), 0xff}, []int32{1, -2, int32(n)}, map[string]int{"a": 1, "b": n})
		o := &order{
			ID: label(int64(n)), Lines: []line{{"a", 1}}, Total: 2.5, Password: "hunter2",
			Placed: time.Unix(1700000000, int64(n)), Wait: 1500 * time.Millisecond,
			First: line{"first", int32(n)}, Next: &order{ID: "next"},
		}
		structs(o, line{"by", int32(-n)}, time.Unix(1600000000, 0).UTC(), 90*time.Second, line{}, fmt.Errorf("reason %d", n))
		stacked(1, 2, 3, 4, 5, 6, 7, 8, 9, n, name)
		fails(n)
		grown := make(chan byte)
		go func(n int) { grown <- unused(n, label(int64(n)), []int32{7, int32(n)}) }(n)
		<-grown
		attempt(n)
		keep(&ledger{"main "}, n)
	}
	structs(nil, line{}, time.Time{}, 0, nil, nil)
	texts("", nil, nil, nil)
	var running sync.WaitGroup
	for g := 0; g < 4; g++ {
		running.Add(1)
		go func(g int64) {
			defer running.Done()
			for i := 0; i < rounds; i++ {
				id := g*int64(rounds) + int64(i)
				done := make(chan byte)
				if i%50 == 0 {
					// A young goroutine's stack grows on the way.
					go func() { done <- sink(12, id) }()
					<-done
				} else {
					sink(i%7, id)
				}
			}
		}(int64(g))
	}
	running.Wait()
}
