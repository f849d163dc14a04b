//! A [`Pipeline`] is all policies around one dependency, in the right order.

mod config;
mod context;
mod erased;
mod fallback;
mod future;
mod permits;
mod policy;
mod settings;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{PipelineLayer, PipelineService};
pub use self::{
    config::PipelineBuilder,
    context::ContextFuture,
    erased::{BoxClassify, BoxFallback, BoxPipeline},
    fallback::NoFallback,
    future::PipelineFuture,
    policy::Pipeline,
    settings::PipelineSettings,
};

// What only signatures name.
#[doc(hidden)]
pub use self::{
    fallback::PipelineFallback,
    shared::{HasParts, HoldsParts, Parts, Whole},
};
