// Functions that end in every way that Rust knows: they return, or a panic unwinds them. Counts its own
// calls, and how many of them were unwound, and writes them as JSON: ends ROUNDS FILE
use std::hint::black_box;
use std::panic;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread;

#[allow(clippy::declare_interior_mutable_const)] // inline const is Rust 1.79
const ZERO: AtomicI64 = AtomicI64::new(0);
static CALLS: [AtomicI64; 6] = [ZERO; 6];
static UNWOUND: [AtomicI64; 6] = [ZERO; 6];
const NAMES: [&str; 6] = ["leaf", "thrower", "middle", "catcher", "generic", "recurse"];

fn count(what: usize, unwound: bool) {
    CALLS[what].fetch_add(1, Relaxed);
    if unwound {
        UNWOUND[what].fetch_add(1, Relaxed);
    }
}

#[inline(never)]
fn leaf(x: i64) -> i64 {
    count(0, false);
    black_box(x * 2 + 1)
}

#[inline(never)]
fn thrower(x: i64) -> i64 {
    count(1, x % 4 == 0);
    if x % 4 == 0 {
        panic!("fourth");
    }
    leaf(x) + black_box(1)
}

#[inline(never)]
fn middle(x: i64) -> i64 {
    count(2, x % 4 == 0);
    let local = vec![x; 3]; // needs a destructor to run
    let got = thrower(x);
    black_box(&local);
    got
}

#[inline(never)]
fn catcher(x: i64) -> i64 {
    count(3, false);
    let got = panic::catch_unwind(|| middle(x)).unwrap_or(-1);
    got + leaf(x) // a call after the unwinding
}

#[inline(never)]
fn generic<T: Copy + Into<i64>>(x: T) -> i64 {
    count(4, false);
    leaf(x.into()) + black_box(1)
}

#[inline(never)]
fn recurse(depth: i64) -> i64 {
    count(5, false);
    if depth <= 0 {
        return leaf(0);
    }
    black_box(recurse(depth - 1)) + 1
}

fn main() {
    panic::set_hook(Box::new(|_| ()));
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(12);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                for i in 0..rounds {
                    black_box(catcher(i) + generic(i) + generic(i as i32) + recurse(5));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let counts: Vec<String> = (0..NAMES.len())
        .map(|i| {
            format!("\"{}\":[{},{}]", NAMES[i], CALLS[i].load(Relaxed), UNWOUND[i].load(Relaxed))
        })
        .collect();
    let file = std::env::args().nth(2).expect("a file for the counts");
    std::fs::write(file, format!("{{{}}}", counts.join(","))).unwrap();
}
