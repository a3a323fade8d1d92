//! The verifier for browsers, compiled to WebAssembly: a question goes in as JSON, an answer comes out as JSON, as
//! [`openapi::verify::json`] has it.
//!
//! The page writes its question into this module's memory and reads the answer there, so three functions are all that is
//! needed, and no generated code between the two: [`room`] for a question, [`verify`] it, and where the [`answer`] is.
//! Nothing here reads memory by address; that is the page's part.

use std::cell::RefCell;

thread_local! {
    /// The question, and then its answer.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes room for a question of so many bytes, and says where it goes.
#[expect(unsafe_code, reason = "an exported name must be the only one of its kind in the program: it is")]
#[unsafe(no_mangle)]
pub extern "C" fn room(length: usize) -> *mut u8 {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        text.resize(length, 0);
        text.as_mut_ptr()
    })
}

/// Puts the answer in the question's place, and says how many bytes it has.
#[expect(unsafe_code, reason = "as above")]
#[unsafe(no_mangle)]
pub extern "C" fn verify() -> usize {
    TEXT.with_borrow_mut(|text| {
        *text = openapi::verify::json::answer(text).into_bytes();
        text.len()
    })
}

/// Says where the answer is.
#[expect(unsafe_code, reason = "as above")]
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> *const u8 {
    TEXT.with_borrow(|text| text.as_ptr())
}
