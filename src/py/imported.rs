//! Python's own functions, looked up once: to find them takes longer than to call them.

use once_cell::race::OnceBox;
use pyo3::prelude::*;

/// An object of a Python module. No lock is held over the import, so that a fork at any moment leaves nothing locked.
pub(super) struct Imported {
    module: &'static str,
    name: &'static str,
    object: OnceBox<Py<PyAny>>,
}

impl Imported {
    pub(super) const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, object: OnceBox::new() }
    }

    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let object = match self.object.get() {
            Some(object) => object,
            None => {
                let found = py.import(self.module)?.getattr(self.name)?.unbind();
                self.object.get_or_init(|| Box::new(found))
            }
        };
        Ok(object.bind(py))
    }
}
