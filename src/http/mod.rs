//! What HTTP clients and servers need around the policies. Needs the feature `http`, and the crate `http` alone.
//!
//! | question | who answers |
//! |---|---|
//! | **client** | |
//! | What does this answer say about the server? | [`by_response`], [`by_headers`] |
//! | May this request be sent again? | [`Idempotent`]; in the plain form [`not_idempotent`] |
//! | How does a server know two attempts of one `POST`? | [`idempotency_key`], [`IdempotencyKeyLayer`] |
//! | When does the server want to be asked again? | [`retry_after`] |
//! | How much may I still ask for? | [`quota()`] |
//! | Which hosts share a policy? | [`authority`] |
//! | **server** | |
//! | How do I tell a client what it may still ask for? | [`AnnouncedQuota::write`] |
//! | What does a client get when a policy rejects its request? | [`server()`], [`rejection_response`] |
//! | What does it get when a policy of my own call to another service does? | [`dependency_rejection_response`] |
//! | How long does the caller wait? | [`grpc_timeout`], for `Deadline::layer_fn` |
//! | Who is calling, behind proxies? | [`client_ip`] |
//! | Under which key is a client counted? | [`ip_key`] |
//!
//! [The guide](crate::guide::http) has a client and a server.
//!
//! [`not_idempotent`]: crate::RetryWithBackoff::not_idempotent

mod address;
mod grpc_timeout;
#[cfg_attr(not(feature = "tower"), expect(dead_code, reason = "for the layers"))]
mod idempotency_key;
#[cfg(feature = "tower")]
mod idempotent;
mod quota;
#[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "for the layers"))]
mod rejection;
mod response;
mod retry_after;
#[cfg(feature = "tower")]
mod server;

pub use self::{
    address::{authority, client_ip, ip_key},
    grpc_timeout::grpc_timeout,
    idempotency_key::idempotency_key,
    quota::{AnnouncedQuota, quota},
    rejection::{dependency_rejection_response, rejection_response},
    response::{ByResponse, by_headers, by_response},
    retry_after::retry_after,
};
#[cfg(feature = "tower")]
pub use self::{
    idempotency_key::{IdempotencyKeyLayer, IdempotencyKeyService},
    idempotent::Idempotent,
    server::{ServerFuture, ServerLayer, ServerService, server},
};

// What only signatures name.
#[doc(hidden)]
pub use self::response::ReadHeaders;
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::server::{NoBody, RejectionBody, WithBody};

#[cfg(test)]
mod testing {
    use ::http::{HeaderMap, HeaderName};

    /// The headers that an answer has with these lines.
    pub(super) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name of a header");
            headers.append(name, value.as_bytes().try_into().expect("no control characters"));
        }
        headers
    }
}
