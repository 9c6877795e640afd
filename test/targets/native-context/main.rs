//! The scenario in Rust: functions with names that are mangled. What is published comes from C, as
//! OTEP 4947 has it for Rust.
use std::ffi::{c_char, c_int, c_void, CString};

extern "C" {
    fn scenario_in_c(argc: c_int, argv: *const *const c_char) -> c_int;
    fn within_outer_in_c(
        thread: *mut c_void,
        round: c_int,
        own: c_int,
        current: *const c_void,
    ) -> c_int;
    fn within_switching_in_c(
        thread: *mut c_void,
        own: c_int,
        other: *const c_void,
        restored: c_int,
    ) -> c_int;
}

/// What the compiler knows nothing of, so that no call becomes a jump.
fn opaque(n: c_int) -> c_int {
    unsafe { std::ptr::read_volatile(&n) }
}

#[inline(never)]
#[no_mangle]
pub extern "C" fn leaf(n: c_int) -> c_int {
    opaque(n) + 1
}

struct Request {
    thread: *mut c_void,
    own: c_int,
}

impl Request {
    #[inline(never)]
    fn handle(&self, round: c_int, current: *const c_void) -> c_int {
        opaque(unsafe { within_outer_in_c(self.thread, round, self.own, current) }) + 1
    }
}

#[inline(never)]
#[no_mangle]
pub extern "C" fn outer(
    thread: *mut c_void,
    round: c_int,
    own: c_int,
    current: *const c_void,
) -> c_int {
    opaque(Request { thread, own }.handle(round, current)) + 1
}

#[inline(never)]
#[no_mangle]
pub extern "C" fn switching(
    thread: *mut c_void,
    own: c_int,
    other: *const c_void,
    restored: c_int,
) -> c_int {
    opaque(unsafe { within_switching_in_c(thread, own, other, restored) }) + 1
}

fn main() {
    let arguments: Vec<CString> = std::env::args()
        .map(|each| CString::new(each).unwrap())
        .collect();
    let pointers: Vec<*const c_char> = arguments.iter().map(|each| each.as_ptr()).collect();
    std::process::exit(unsafe { scenario_in_c(pointers.len() as c_int, pointers.as_ptr()) });
}
