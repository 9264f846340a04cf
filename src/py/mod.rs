//! The extension module `zkcoord._core`: parse, call, wrap. No logic, no protocol.

mod convert;
mod errors;
mod party;
mod runtime;
mod semaphore;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::party::party_members;
    #[pymodule_export]
    use super::runtime::{close, finish};
    #[pymodule_export]
    use super::semaphore::{lock, lock_holders, unlock};
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
