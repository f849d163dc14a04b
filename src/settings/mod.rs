//! Settings as data.

mod pipelines;

pub use self::pipelines::Pipelines;
