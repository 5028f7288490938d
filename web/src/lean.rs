//! What takes the place of `std` in the page's module: an allocator, and the end of a panic.
//!
//! `std` would format a panic's message for a console that no browser gives it, and so keep all messages, places in the
//! sources and formatting code in the download.

use core::{arch::wasm32, panic::PanicInfo};

use talc::wasm::{WasmDynamicTalc, new_wasm_dynamic_allocator};

/// Smaller than the allocator of `std`, and faster.
#[global_allocator]
static ALLOCATOR: WasmDynamicTalc = new_wasm_dynamic_allocator();

/// A trap, as with `std`: JavaScript sees a `RuntimeError`.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}
