//! One key for all attempts of a call.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ::http::{HeaderName, HeaderValue};

use crate::random;

pub(super) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A fresh value for the header `Idempotency-Key`: random, in the form of a UUID (version 4).
///
/// A server that knows the header acts once on all requests with one key. So **make the key once for each call, outside
/// of the closure of a retry.** Inside the closure each attempt would have a key of its own, and would be acted on.
///
/// ```
/// # use withstand::{Error, RetryWithBackoff, http::idempotency_key, lift};
/// # async fn order(client: &reqwest::Client, retry: &RetryWithBackoff) -> Result<(), Error<reqwest::Error>> {
/// let key = idempotency_key();
/// let response = retry
///     .call(|| lift(client.post("https://pay.example/charges").header("Idempotency-Key", &key).send()))
///     .await?;
/// # Ok(()) }
/// ```
///
/// The key has 122 random bits. It is not a secret: do not use it where nobody may guess it. It is written as it is,
/// without the quotes of the [IETF's draft][draft], because that is what most payment interfaces take.
///
/// [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
#[expect(clippy::missing_panics_doc, reason = "it never does")]
pub fn idempotency_key() -> HeaderValue {
    let [high, low] = fresh_bits();
    let text = uuid(high, low);
    HeaderValue::from_maybe_shared(text.into_bytes()).expect("hexadecimal digits and hyphens")
}

/// 128 bits from a hash function whose secret is random for each process, and whose input never repeats itself.
///
/// `fastrand` alone would not do. Its state has 64 bits, so of 10⁹ keys two would be equal with a chance of 3 percent.
/// It is part of the input for platforms on which the secret is a constant.
fn fresh_bits() -> [u64; 2] {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NUMBER: AtomicU64 = AtomicU64::new(0);

    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let seed = random::fresh_seed();
    [0_u8, 1].map(|half| SECRET.hash_one((number, seed, half)))
}

/// RFC 9562, section 5.4: the version is 4, the variant is binary 10.
fn uuid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & (u64::MAX >> 2) | 1 << 63);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low << 16 >> 16
    )
}

#[cfg(feature = "tower")]
pub use self::layer::{IdempotencyKeyLayer, IdempotencyKeyService};

#[cfg(feature = "tower")]
mod layer {
    use std::{
        fmt,
        task::{Context, Poll},
    };

    use ::http::{HeaderMap, Method, Request};
    use tower_layer::Layer;
    use tower_service::Service;

    use super::{IDEMPOTENCY_KEY, idempotency_key};

    /// Gives each `POST` and each `PATCH` that has no `Idempotency-Key` a [fresh one](super::idempotency_key).
    ///
    /// It goes outside of the retry, so that all attempts of a call have one key. Add it only where the server knows
    /// the header: to the retry's rule, [`Idempotent`](crate::http::Idempotent), the key says that the request may be
    /// sent again.
    ///
    /// ```
    /// use reqwest::Request;
    /// use tower::ServiceBuilder;
    /// use withstand::{RetryWithBackoff, http::{Idempotent, IdempotencyKeyLayer}};
    ///
    /// let idempotent = Idempotent::of(Request::try_clone, Request::method, Request::headers);
    /// let charges = ServiceBuilder::new()
    ///     .layer(IdempotencyKeyLayer::of(Request::method, Request::headers_mut))
    ///     .layer(RetryWithBackoff::new("charges").layer().clone_request_by(idempotent));
    /// ```
    pub struct IdempotencyKeyLayer<R> {
        read: ReadFns<R>,
    }

    struct ReadFns<R> {
        method: fn(&R) -> &Method,
        headers_mut: fn(&mut R) -> &mut HeaderMap,
    }

    impl<B> IdempotencyKeyLayer<Request<B>> {
        /// For requests of the crate `http`.
        pub fn new() -> Self {
            Self::of(Request::method, Request::headers_mut)
        }
    }

    impl<B> Default for IdempotencyKeyLayer<Request<B>> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<R> IdempotencyKeyLayer<R> {
        /// For any type of request.
        pub fn of(method: fn(&R) -> &Method, headers_mut: fn(&mut R) -> &mut HeaderMap) -> Self {
            Self { read: ReadFns { method, headers_mut } }
        }
    }

    impl<S, R> Layer<S> for IdempotencyKeyLayer<R> {
        type Service = IdempotencyKeyService<S, R>;

        fn layer(&self, inner: S) -> Self::Service {
            IdempotencyKeyService { inner, read: self.read }
        }
    }

    /// A service whose `POST` and `PATCH` requests have an `Idempotency-Key`.
    pub struct IdempotencyKeyService<S, R> {
        inner: S,
        read: ReadFns<R>,
    }

    impl<S, R> Service<R> for IdempotencyKeyService<S, R>
    where
        S: Service<R>,
    {
        type Response = S::Response;
        type Error = S::Error;
        type Future = S::Future;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.inner.poll_ready(cx)
        }

        fn call(&mut self, mut request: R) -> Self::Future {
            if matches!(*(self.read.method)(&request), Method::POST | Method::PATCH) {
                let headers = (self.read.headers_mut)(&mut request);
                if !headers.contains_key(&IDEMPOTENCY_KEY) {
                    // A map that is full (32,768 headers) goes without.
                    let _ = headers.try_insert(&IDEMPOTENCY_KEY, idempotency_key());
                }
            }
            self.inner.call(request)
        }
    }

    impl<R> Clone for ReadFns<R> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<R> Copy for ReadFns<R> {}

    impl<R> Clone for IdempotencyKeyLayer<R> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<R> Copy for IdempotencyKeyLayer<R> {}

    impl<R> fmt::Debug for IdempotencyKeyLayer<R> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("IdempotencyKeyLayer").finish_non_exhaustive()
        }
    }

    impl<S: Clone, R> Clone for IdempotencyKeyService<S, R> {
        fn clone(&self) -> Self {
            Self { inner: self.inner.clone(), read: self.read }
        }
    }

    impl<S: fmt::Debug, R> fmt::Debug for IdempotencyKeyService<S, R> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("IdempotencyKeyService").field("inner", &self.inner).finish_non_exhaustive()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn w1_each_key_is_a_uuid_of_its_own() {
        let keys: HashSet<_> = (0..10_000).map(|_| idempotency_key()).collect();
        assert_eq!(keys.len(), 10_000);
        for key in keys {
            let text = key.to_str().expect("visible ASCII");
            let parts: Vec<_> = text.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{text}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{text}");
        }
    }

    #[test]
    fn w1_a_key_keeps_all_other_bits() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef), "01234567-89ab-4def-8123-456789abcdef");
    }
}
