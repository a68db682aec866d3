//! Projects over stores in memory, and short ways to write tables down.

mod flights;
mod plans;
mod project;
mod rows;
mod test_store;

pub use flights::{DEFINITIONS, airports, all_tables, weather};
pub use plans::{breaks, codes_of, entries};
pub use project::{Project, load, request, service};
pub use rows::{HOUR, batch, floats, hours, ints, names, strings, tables, text};
pub use test_store::{Defect, TestStore};
