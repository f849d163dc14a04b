//! A pipeline of which only the types of the answer and of the error are left.

use std::{
    fmt,
    future::Future,
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    sync::Arc,
};

use super::{
    fallback::{PipelineFallback, PlainFallback, sealed},
    policy::Pipeline,
    shared::Whole,
};
use crate::{
    carry::CarriesRejected,
    classify::{ByError, Classify, Verdict},
    error::Rejected,
};

/// A [`Pipeline`] for results of one type, whatever its classifier and its fallback are.
///
/// For fields of structs, for parameters of functions, and for libraries that let their users choose the policies. The
/// classifier and the fallback are behind a pointer. A call is still generic over its operation, and allocates nothing
/// unless the fallback has to answer.
///
/// ```
/// use std::io;
/// use withstand::{Pipeline, pipeline::BoxPipeline};
///
/// struct Stock {
///     pipeline: BoxPipeline<u32, io::Error>,
/// }
///
/// let real = Stock { pipeline: Pipeline::standard("stock").boxed() };
/// let in_a_test = Stock { pipeline: BoxPipeline::none() };
/// # let _ = (real.pipeline, in_a_test.pipeline);
/// ```
pub type BoxPipeline<T, E> = Pipeline<BoxClassify<T, E>, BoxFallback<T, E>>;

impl<C, F> Pipeline<C, F> {
    /// The same pipeline, with the types of its classifier and its fallback erased.
    pub fn boxed<T, E>(self) -> BoxPipeline<T, E>
    where
        C: Classify<T, E> + Send + Sync + 'static,
        F: PipelineFallback<T, E, (), Future: Send + 'static> + Send + Sync + 'static,
    {
        let Whole { parts, classifier, fallback } = self.whole;
        let fallback: Option<Arc<dyn ErasedFallback<T, E> + Send + Sync>> =
            if F::IS_NONE { None } else { Some(Arc::new(fallback)) };
        Pipeline {
            whole: Whole { parts, classifier: BoxClassify(Arc::new(classifier)), fallback: BoxFallback(fallback) },
        }
    }
}

impl<T: 'static, E: CarriesRejected + 'static> BoxPipeline<T, E> {
    /// A pipeline without any part, which does nothing but make the call: for tests.
    pub fn none() -> Self {
        Pipeline::builder("none").classify(ByError).unchecked().boxed()
    }
}

/// A classifier behind a pointer.
pub struct BoxClassify<T, E>(Arc<dyn Classify<T, E> + Send + Sync>);

impl<T, E> Classify<T, E> for BoxClassify<T, E> {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        self.0.classify(result)
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        self.0.rejected_mut(error)
    }

    fn may_repeat(&self, verdict: Verdict) -> bool {
        self.0.may_repeat(verdict)
    }
}

/// A fallback behind a pointer, or none.
pub struct BoxFallback<T, E>(Option<Arc<dyn ErasedFallback<T, E> + Send + Sync>>);

type BoxRecovery<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

trait ErasedFallback<T, E> {
    fn handles(&self, verdict: Verdict, result: &Result<T, E>) -> bool;
    fn recover(&self, result: Result<T, E>) -> Result<BoxRecovery<T, E>, Result<T, E>>;
    fn emit_failed(&self, error: &E);
}

impl<T, E, F> ErasedFallback<T, E> for F
where
    F: PipelineFallback<T, E, (), Future: Send + 'static>,
{
    fn handles(&self, verdict: Verdict, result: &Result<T, E>) -> bool {
        PipelineFallback::handles(self, verdict, result, &Some(()))
    }

    fn recover(&self, result: Result<T, E>) -> Result<BoxRecovery<T, E>, Result<T, E>> {
        Ok(Box::pin(PipelineFallback::recover(self, result, ())?))
    }

    fn emit_failed(&self, error: &E) {
        PipelineFallback::emit_failed(self, error);
    }
}

impl<T, E> sealed::PipelineFallback for BoxFallback<T, E> {}
impl<T, E> PlainFallback for BoxFallback<T, E> {}

impl<T, E> PipelineFallback<T, E, ()> for BoxFallback<T, E> {
    type Future = BoxRecovery<T, E>;

    // Its type does not say whether it does.
    const JUDGES_ANSWERS: bool = true;

    #[inline]
    fn handles(&self, verdict: Verdict, result: &Result<T, E>, extracted: &Option<()>) -> bool {
        extracted.is_some() && self.0.as_ref().is_some_and(|fallback| fallback.handles(verdict, result))
    }

    fn recover(&self, result: Result<T, E>, (): ()) -> Result<Self::Future, Result<T, E>> {
        match &self.0 {
            Some(fallback) => fallback.recover(result),
            None => Err(result),
        }
    }

    fn emit_failed(&self, error: &E) {
        if let Some(fallback) = &self.0 {
            fallback.emit_failed(error);
        }
    }
}

impl<T, E> Clone for BoxClassify<T, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, E> Clone for BoxFallback<T, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// A panic of either leaves nothing of ours half changed. What they change of their own, a call that is made after the
// panic sees, as it does where their types are known.
impl<T, E> UnwindSafe for BoxClassify<T, E> {}
impl<T, E> RefUnwindSafe for BoxClassify<T, E> {}
impl<T, E> UnwindSafe for BoxFallback<T, E> {}
impl<T, E> RefUnwindSafe for BoxFallback<T, E> {}

impl<T, E> fmt::Debug for BoxClassify<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxClassify").finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for BoxFallback<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxFallback").field(&self.0.is_some()).finish()
    }
}
