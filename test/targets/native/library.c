// A library with functions to trace. Without lock prefixes; see ends.cc.
volatile long library_sum;

__attribute__((noinline)) static long library_inner(long x) {
    library_sum += x;
    return x + 1;
}

long library_work(long x) { return library_inner(x) + library_sum; }
