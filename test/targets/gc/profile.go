//go:build profile

package main

import "runtime"

// Where it is there the linker leaves the heap profile on.
func init() {
	memProfile = runtime.MemProfile
}
