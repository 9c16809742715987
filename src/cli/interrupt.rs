//! Ctrl-C and termination: the first asks a long run to stop at the next step and to write its
//! checkpoint, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::Exit;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the flag returned is set when the user asks to stop. Only long runs that look at the
/// flag call this; all other commands keep the system's way to end.
pub fn watch() -> &'static AtomicBool {
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
    });
    // Where the system takes no handler its own way to end stays, which loses no more than the steps
    // since the last checkpoint.
    &ASKED
}
