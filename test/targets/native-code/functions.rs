//! Functions of every shape that the compiler makes of Rust, each called by main().
use std::collections::HashMap;
use std::hint::black_box;

#[inline(never)]
fn leaf(a: i64, b: i64) -> i64 {
    a.wrapping_add(b)
}

#[inline(never)]
fn tail_call(a: i64) -> i64 {
    leaf(a.wrapping_mul(3), 1)
}

enum Shape {
    Point,
    Circle(i64),
    Square(i64),
    Triangle(i64, i64),
    Text(String),
    Line(i64, i64),
}

#[inline(never)]
fn area(shape: &Shape) -> Result<i64, String> {
    match shape {
        Shape::Point => Ok(0),
        Shape::Circle(r) => Ok(r * r * 3),
        Shape::Square(a) => Ok(tail_call(a * a)),
        Shape::Triangle(a, h) => Ok(a * h / 2),
        Shape::Text(text) => Err(format!("{text} has no area")),
        Shape::Line(a, b) => {
            black_box(a + b);
            Err("a line".to_string())
        }
    }
}

#[inline(never)]
fn question(shape: &Shape) -> Result<i64, String> {
    Ok(area(shape)? + 1)
}

#[inline(never)]
fn panics(a: i64) -> i64 {
    assert!(a % 3 != 1, "no");
    a
}

#[inline(never)]
fn catches(a: i64) -> i64 {
    std::panic::catch_unwind(|| panics(black_box(a))).unwrap_or(-1)
}

trait Speaks {
    fn speak(&self, times: usize) -> usize;
}
struct Dog;
impl Speaks for Dog {
    #[inline(never)]
    fn speak(&self, times: usize) -> usize {
        "woof".len() * times
    }
}

#[inline(never)]
fn dynamic(speaker: &dyn Speaks, times: usize) -> usize {
    speaker.speak(times)
}

#[inline(never)]
fn interpret(code: &[u8]) -> i64 {
    let mut a = 0i64;
    for byte in code {
        match byte {
            0 => return a,
            1 => a += 1,
            2 => a = a.wrapping_mul(3),
            3 => a -= 7,
            4 => a ^= 0x55,
            5 => a = leaf(a, 6),
            6 => continue,
            _ => return -1,
        }
    }
    a
}

#[inline(never)]
fn counts(words: &[&str]) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts.values().max().copied().unwrap_or(0)
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let shapes = [
        Shape::Point,
        Shape::Circle(2),
        Shape::Square(3),
        Shape::Triangle(2, 4),
        Shape::Text("text".into()),
        Shape::Line(1, 2),
    ];
    let mut sum = 0;
    for i in 0..6 {
        sum += question(black_box(&shapes[i])).unwrap_or(-1);
        sum += catches(i as i64);
        sum += dynamic(black_box(&Dog), i) as i64;
        sum += interpret(black_box(&[1, 2, 3, 4, 5, 6, 1, 0]));
        sum += counts(&["a", "b", "a"]) as i64;
    }
    black_box(sum);
}
