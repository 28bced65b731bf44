// The test guest in Rust, without crates.
#![crate_type = "cdylib"]

mod env {
    #[link(wasm_import_module = "extism:host/env")]
    extern "C" {
        pub fn input_length() -> u64;
        pub fn input_load_u64(off: u64) -> u64;
        pub fn input_load_u8(off: u64) -> u32;
        pub fn alloc(n: u64) -> u64;
        pub fn free(off: u64);
        pub fn length(off: u64) -> u64;
        pub fn length_unsafe(off: u64) -> u64;
        pub fn load_u64(off: u64) -> u64;
        pub fn load_u8(off: u64) -> u32;
        pub fn store_u64(off: u64, v: u64);
        pub fn store_u8(off: u64, v: u32);
        pub fn output_set(off: u64, n: u64);
        pub fn error_set(off: u64);
        pub fn config_get(off: u64) -> u64;
        pub fn var_get(off: u64) -> u64;
        pub fn var_set(name: u64, value: u64);
        pub fn log_trace(off: u64);
        pub fn log_debug(off: u64);
        pub fn log_info(off: u64);
        pub fn log_warn(off: u64);
        pub fn log_error(off: u64);
        pub fn get_log_level() -> i32;
        pub fn http_request(request: u64, body: u64) -> u64;
        pub fn http_status_code() -> i32;
        pub fn http_headers() -> u64;
    }
    #[link(wasm_import_module = "extism:host/user")]
    extern "C" {
        pub fn tool_call(off: u64) -> u64;
    }
}
use env::*;

fn input() -> Vec<u8> {
    let n = unsafe { input_length() };
    let mut b = Vec::with_capacity(n as usize);
    let mut i = 0;
    while i + 8 <= n {
        b.extend_from_slice(&unsafe { input_load_u64(i) }.to_le_bytes());
        i += 8
    }
    while i < n {
        b.push(unsafe { input_load_u8(i) } as u8);
        i += 1
    }
    b
}

fn store(b: &[u8]) -> u64 {
    let off = unsafe { alloc(b.len() as u64) };
    let mut i = 0;
    while i + 8 <= b.len() {
        let mut word = [0u8; 8];
        word.copy_from_slice(&b[i..i + 8]);
        unsafe { store_u64(off + i as u64, u64::from_le_bytes(word)) };
        i += 8
    }
    while i < b.len() {
        unsafe { store_u8(off + i as u64, b[i] as u32) };
        i += 1
    }
    off
}

fn load(off: u64) -> Vec<u8> {
    let n = unsafe { length(off) };
    let mut b = Vec::with_capacity(n as usize);
    let mut i = 0;
    while i + 8 <= n {
        b.extend_from_slice(&unsafe { load_u64(off + i) }.to_le_bytes());
        i += 8
    }
    while i < n {
        b.push(unsafe { load_u8(off + i) } as u8);
        i += 1
    }
    b
}

fn output(b: &[u8]) -> i32 {
    unsafe { output_set(store(b), b.len() as u64) };
    0
}

#[no_mangle]
pub extern "C" fn echo() -> i32 {
    output(&input())
}

#[no_mangle]
pub extern "C" fn work() -> i32 {
    output(&load(unsafe { tool_call(store(&input())) }))
}

#[no_mangle]
pub extern "C" fn config() -> i32 {
    output(&load(unsafe { config_get(store(&input())) }))
}

#[no_mangle]
pub extern "C" fn remember() -> i32 {
    let old = load(unsafe { var_get(store(b"last")) });
    let new = input();
    let value = if new.is_empty() { 0 } else { store(&new) };
    unsafe { var_set(store(b"last"), value) };
    output(&old)
}

#[no_mangle]
pub extern "C" fn logs() -> i32 {
    let text = input();
    unsafe {
        log_trace(store(&text));
        log_debug(store(&text));
        log_info(store(&text));
        log_warn(store(&text));
        log_error(store(&text));
        output(get_log_level().to_string().as_bytes())
    }
}

#[no_mangle]
pub extern "C" fn fail() -> i32 {
    unsafe { error_set(store(&input())) };
    1
}

#[no_mangle]
pub extern "C" fn softfail() -> i32 {
    unsafe { error_set(store(&input())) };
    0
}

#[no_mangle]
pub extern "C" fn code() -> i32 {
    7
}

static mut CALLS: u32 = 0;

#[no_mangle]
pub extern "C" fn state() -> i32 {
    unsafe {
        CALLS += 1;
        output(CALLS.to_string().as_bytes())
    }
}

#[no_mangle]
pub extern "C" fn fetch() -> i32 {
    let (status, headers, body);
    unsafe {
        body = load(http_request(store(&input()), store(b"ping")));
        status = http_status_code();
        headers = load(http_headers());
    }
    let mut out = format!("{} {} ", status, String::from_utf8_lossy(&headers)).into_bytes();
    out.extend_from_slice(&body);
    output(&out)
}

#[no_mangle]
pub extern "C" fn widths() -> i32 {
    let mut out = Vec::new();
    unsafe {
        let off = alloc(17);
        store_u64(off + 1, 0x0807060504030201);
        store_u8(off + 9, 0x1ff);
        store_u64(off, load_u64(off) ^ load_u64(off + 2));
        for i in 0..17 {
            out.push(load_u8(off + i) as u8)
        }
        for n in [length(off), length_unsafe(off), length(off + 1), length(0), alloc(0)] {
            out.extend_from_slice(&n.to_le_bytes())
        }
        free(off);
        free(off);
        out.extend_from_slice(&length(off).to_le_bytes())
    }
    output(&out)
}

#[no_mangle]
pub extern "C" fn churn() -> i32 {
    for i in 0..unsafe { input_load_u64(0) } {
        let off = unsafe { alloc(100 + i % 1000) };
        if off == 0 {
            return 1;
        }
        unsafe { free(off) }
    }
    0
}

/// Everything that turn changes.
struct Life {
    turns: u32,
    words: std::collections::BTreeMap<String, f64>,
    steps: Vec<Box<dyn FnMut(u64) -> u64>>,
}

static mut LIFE: Option<Life> = None;

#[no_mangle]
pub extern "C" fn turn() -> i32 {
    let life = unsafe { LIFE.get_or_insert_with(|| Life { turns: 0, words: Default::default(), steps: Vec::new() }) };
    life.turns += 1;
    let text = input();
    let mut seed = life.turns as u64;
    let mut own = seed;
    life.steps.push(Box::new(move |v| {
        own = own.wrapping_mul(6364136223846793005).wrapping_add(v);
        own >> 7
    }));
    for step in life.steps.iter_mut() {
        seed = seed.rotate_left(5) ^ step(seed)
    }
    for i in 0..32u64 {
        let word = format!("{}{}", String::from_utf8_lossy(&text), (seed.wrapping_mul(i + 1) >> 13) % 100);
        *life.words.entry(word).or_insert(1.5) *= 1.01
    }
    if life.words.len() > 400 {
        life.words = life.words.iter().skip(200).map(|(k, v)| (k.clone(), *v)).collect()
    }
    let mut out = load(unsafe { tool_call(store(&text)) });
    let sum: f64 = life.words.values().sum();
    out.extend_from_slice(format!("{} {} {} {}", life.turns, seed, life.words.len(), sum).as_bytes());
    output(&out)
}

static mut KEPT: Vec<Vec<u8>> = Vec::new();

#[no_mangle]
pub extern "C" fn grow() -> i32 {
    let n = unsafe { input_load_u64(0) } as usize;
    let mut v: Vec<u8> = Vec::new();
    if v.try_reserve_exact(n).is_err() {
        return output(b"no");
    }
    v.resize(n, 1);
    unsafe { KEPT.push(v) };
    output(b"ok")
}

#[no_mangle]
pub extern "C" fn spin() -> i32 {
    let mut x: u32 = 1;
    loop {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        unsafe { std::ptr::write_volatile(&mut x, x) }
    }
}

#[no_mangle]
pub extern "C" fn trap() -> i32 {
    panic!("boom")
}

#[inline(never)]
fn deeper(n: i32) -> i32 {
    let mut pad = [n; 64];
    unsafe { std::ptr::write_volatile(&mut pad[(n & 63) as usize], n) };
    deeper(n.wrapping_add(1)).wrapping_add(pad[((n + 1) & 63) as usize])
}

#[no_mangle]
pub extern "C" fn recurse() -> i32 {
    deeper(0)
}
