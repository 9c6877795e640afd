//! Prints what it calls each function with, and what that returns, one JSON object a line,
//! into the file that it is called with.
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::{Mutex, OnceLock};

static OUTPUT: OnceLock<Mutex<File>> = OnceLock::new();

fn say(line: std::fmt::Arguments) {
    let mut output = OUTPUT.get().unwrap().lock().unwrap();
    writeln!(output, "{}", line).unwrap();
}

pub struct Order {
    pub number: u64,
    pub name: String,
    pub place: (u8, i16),
}

#[derive(Debug)]
pub enum Failure {
    NotFound,
    Other(i32),
}

pub enum Step {
    Rest,
    Moved { x: i32, to: (u8, i16) },
    Sized(u64),
}

#[inline(never)]
pub fn steps(step: &Step, count: Option<u32>) -> u32 {
    let (x, to, size) = match step {
        Step::Rest => (r#""Rest""#.to_string(), r#""Rest""#.to_string(), r#""Rest""#.to_string()),
        Step::Moved { x, to } => (x.to_string(), to.1.to_string(), r#""Moved""#.to_string()),
        Step::Sized(n) => (r#""Sized""#.to_string(), r#""Sized""#.to_string(), n.to_string()),
    };
    let some = count.map_or(r#""None""#.to_string(), |n| n.to_string());
    say(format_args!(
        "{{\"function\":\"steps\",\"step.Moved.x\":{},\"step.Moved.to.1\":{},\"step.Sized\":{},\"count.Some\":{}}}",
        x, to, size, some
    ));
    count.unwrap_or(7)
}

#[inline(never)]
pub fn texts(s: &str, u: String, o: Option<&str>, v: Vec<u32>, order: &Order) -> Option<u32> {
    let result = if v.len() > 2 { None } else { v.first().copied() };
    say(format_args!(
        "{{\"function\":\"texts\",\"s\":\"{}\",\"u\":\"{}\",\"o\":\"{}\",\"v\":{},\"number\":{},\"name\":\"{}\",\"place\":{},\"result\":\"{:?}\"}}",
        s, u, o.unwrap_or("None"), v.len(), order.number, order.name, order.place.1, result
    ));
    result
}

#[inline(never)]
pub fn in_memory(n: i32) -> Result<u32, String> {
    if black_box(n) % 2 == 0 { Err(format!("bad {}", n)) } else { Ok(n as u32) }
}

#[inline(never)]
pub fn in_registers(n: i32) -> Result<(), &'static str> {
    match black_box(n) % 3 { 0 => Err("three"), 1 => Err("one more"), _ => Ok(()) }
}

#[inline(never)]
pub fn packed(n: i32) -> Result<u32, Failure> {
    match black_box(n) % 3 { 0 => Err(Failure::NotFound), 1 => Err(Failure::Other(-n)), _ => Ok(n as u32) }
}

fn main() {
    let rounds: i32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let file = File::create(std::env::args().nth(2).unwrap()).unwrap();
    OUTPUT.set(Mutex::new(file)).unwrap();
    for i in 0..rounds {
        let order = Order { number: i as u64, name: "o".repeat(i as usize), place: (1, -i as i16) };
        let some = if i % 2 == 0 { Some("even") } else { None };
        let v = (0..i as u32 % 4).map(|n| n + i as u32).collect();
        let step = match i % 3 {
            0 => Step::Rest,
            1 => Step::Moved { x: 5 - i, to: (i as u8, -3 * i as i16) },
            _ => Step::Sized(1000 + i as u64),
        };
        black_box(steps(black_box(&step), black_box(if i % 2 == 0 { Some(i as u32) } else { None })));
        black_box(texts(&"s".repeat(i as usize), format!("u{}", i), some, v, &order));
        for (name, error) in [
            ("in_memory", in_memory(i).err()),
            ("in_registers", in_registers(i).err().map(str::to_string)),
            ("packed", packed(i).err().map(|failure| format!("{:?}", failure))),
        ] {
            let text = error.unwrap_or_default();
            say(format_args!("{{\"function\":\"{}\",\"n\":{},\"error\":\"{}\"}}", name, i, text));
        }
    }
}
