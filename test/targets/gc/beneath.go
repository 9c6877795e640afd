package main

var texts [64][]byte
var others [64][]byte
var numbers [64][]int

// allocateBeneath allocates in functions that nobody traces. The comments at the ends of lines name
// them for the test.
//
//go:noinline
func allocateBeneath(path string, n int) {
	switch path {
	case "once":
		keepTexts(n) // once
	case "thrice":
		keepTexts(3 * n) // thrice
	case "deep":
		descend(3, n) // deep
	case "far":
		descend(60, n) // far
	case "both":
		keepBoth(n) // both
	}
}

//go:noinline
func keepTexts(n int) {
	for i := 0; i < n; i++ {
		texts[i%len(texts)] = make([]byte, 200) // text
	}
}

//go:noinline
func keepBoth(n int) {
	for i := 0; i < n; i++ {
		texts[i%len(texts)] = make([]byte, 64)   // left
		others[i%len(others)] = make([]byte, 64) // right
	}
}

//go:noinline
func descend(depth, n int) {
	if depth > 0 {
		descend(depth-1, n) // further
		return
	}
	keepNumbers(n) // bottom
}

//go:noinline
func keepNumbers(n int) {
	for i := 0; i < n; i++ {
		numbers[i%len(numbers)] = append([]int(nil), i, i, i, i, i) // number
	}
}

// allocateApart allocates by 8,192 ways, each of them once; all is seen, since it is large.
//
//go:noinline
func allocateApart() {
	for way := 0; way < 1<<13; way++ {
		branch(13, way)
	}
}

//go:noinline
func branch(depth, way int) {
	if depth == 0 {
		large[way%len(large)] = make([]byte, 40_000)
	} else if way&1 == 0 {
		branch(depth-1, way>>1)
	} else {
		branch(depth-1, way>>1)
	}
}

func allocateByPath(rounds int) {
	for i := 0; i < rounds; i++ {
		for _, path := range []string{"once", "thrice", "deep", "far", "both"} {
			path := path
			measure(path, func() { allocateBeneath(path, 5_000) })
		}
	}
}
