//! How errors carry a rejection, and how it is found again: section 2 of the design.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error as StdError,
    fmt,
    future::{Future, pending, ready},
    io,
    time::Duration,
};

use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, Error, Name, RateLimiter, Rejected, RetryWithBackoff, Timeout,
    carries_rejected, lift,
};

type BoxError = Box<dyn StdError + Send + Sync>;

/// An application's own error, as the documentation advises.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("no such user")]
    NoSuchUser,
    #[error("call rejected")]
    Policy(#[from] Rejected),
}
carries_rejected!(ApiError, Policy);

/// A chain's upper link.
#[derive(Debug, thiserror::Error)]
#[error("while fetching the user")]
struct While<E: StdError + 'static>(#[source] E);

/// A circuit that opened this very moment, for ten seconds.
fn circuit_open() -> Rejected {
    let breaker = CircuitBreaker::builder("users")
        .consecutive_failures(1, Duration::ZERO)
        .open_for(Duration::from_secs(10))
        .no_open_jitter()
        .build()
        .expect("the settings are good");
    breaker.try_acquire().expect("it is closed").failure();
    breaker.try_acquire().expect_err("it is open")
}

fn bulkhead_full() -> Rejected {
    Bulkhead::new("api", 0).try_acquire().expect_err("it has no slots")
}

fn rate_limited() -> Rejected {
    RateLimiter::new("quota", 0, Duration::from_secs(1))
        .expect("good settings")
        .try_acquire()
        .expect_err("it has no permits")
}

async fn timed_out() -> Rejected {
    let timeout = Timeout::new(Duration::from_millis(20)).named("per attempt");
    match timeout.call(pending::<Result<(), Error<()>>>).await {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("it never ends, and yet: {other:?}"),
    }
}

async fn each_rejection() -> [Rejected; 4] {
    [circuit_open(), bulkhead_full(), rate_limited(), timed_out().await]
}

mod a_rejection_tells {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_an_open_circuit_its_name_and_the_time_left_and_that_nothing_was_started() {
        let rejected = circuit_open();
        assert_eq!(rejected.name(), Some("users"));
        assert_eq!((rejected.retry_after(), rejected.retry_after_secs()), (Some(Duration::from_secs(10)), Some(10)));
        assert!(!rejected.was_started());
        assert!(matches!(&rejected, Rejected::CircuitOpen(open) if open.name() == "users"));
        assert_eq!(rejected.to_string(), "circuit `users` is open, for another 10s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_left_in_whole_seconds_is_rounded_up() {
        let builder =
            CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).open_for(Duration::from_secs(10));
        let breaker = builder.no_open_jitter().build().expect("the settings are good");
        breaker.try_acquire().expect("it is closed").failure();
        for (passed, left) in [(1, 10), (8_999, 1), (0, 1), (999, 1)] {
            tokio::time::advance(Duration::from_millis(passed)).await;
            assert_eq!(breaker.try_acquire().expect_err("it is open").retry_after_secs(), Some(left));
        }
    }

    #[test]
    fn of_a_circuit_forced_open_no_time_left() {
        let breaker = CircuitBreaker::new("users");
        breaker.force_open();
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!((rejected.retry_after(), rejected.retry_after_secs()), (None, None));
        assert_eq!(rejected.to_string(), "circuit `users` is open");
    }

    #[test]
    fn of_a_full_bulkhead_its_name_and_limit_and_that_nothing_was_started() {
        let bulkhead = Bulkhead::new("api", 2);
        let _slots = [bulkhead.try_acquire().unwrap(), bulkhead.try_acquire().unwrap()];
        let rejected = bulkhead.try_acquire().unwrap_err();
        assert_eq!((rejected.name(), rejected.retry_after()), (Some("api"), None));
        assert!(!rejected.was_started());
        assert!(
            matches!(&rejected, Rejected::BulkheadFull(full) if full.max_concurrent() == 2 && full.waited().is_none())
        );
        assert_eq!(rejected.to_string(), "bulkhead `api` is full (2 at once)");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_wait_in_vain_how_long_it_was() {
        let wait = Duration::from_millis(30);
        let bulkhead = Bulkhead::builder("api", 0).queue(1, wait).build().unwrap();
        let rejected = bulkhead.acquire().await.unwrap_err();
        assert!(matches!(&rejected, Rejected::BulkheadFull(full) if full.waited() == Some(wait)));
        assert_eq!(rejected.to_string(), "bulkhead `api` is full (0 at once), and stayed full for 30ms");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_spent_rate_limiter_its_name_its_limit_and_the_time_and_that_nothing_was_started() {
        let limiter = RateLimiter::new("quota", 4, Duration::from_secs(1)).unwrap();
        limiter.try_acquire_many(4).unwrap();
        let rejected = limiter.try_acquire().unwrap_err();
        assert_eq!((rejected.name(), rejected.retry_after()), (Some("quota"), Some(Duration::from_millis(250))));
        assert_eq!((rejected.retry_after_secs(), rejected.was_started()), (Some(1), false));
        assert!(matches!(&rejected, Rejected::RateLimited(limited) if limited.limit() == 4));
        assert_eq!(rejected.to_string(), "rate limiter `quota` is spent (limit 4), for another 250ms");
        let rejected = limiter.try_acquire_many(5).unwrap_err();
        assert_eq!((rejected.retry_after(), rejected.retry_after_secs()), (None, None));
        assert_eq!(rejected.to_string(), "rate limiter `quota` is spent (limit 4), and no wait would help");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_timeout_its_name_and_limit_and_that_the_operation_was_started() {
        let rejected = timed_out().await;
        assert_eq!((rejected.name(), rejected.retry_after()), (Some("per attempt"), None));
        assert!(rejected.was_started());
        assert!(matches!(&rejected, Rejected::TimedOut(elapsed) if elapsed.limit() == Duration::from_millis(20)));
        assert_eq!(rejected.to_string(), "`per attempt` took longer than 20ms");
    }

    #[tokio::test]
    async fn of_a_timeout_without_a_name_none() {
        let answer = Timeout::new(Duration::ZERO).call(pending::<Result<(), ApiError>>).await;
        let error = answer.unwrap_err();
        let rejected = error.as_rejected().unwrap();
        assert_eq!((rejected.name(), rejected.to_string()), (None, "took longer than 0ns".to_owned()));
    }
}

mod carriers {
    use super::*;

    /// Whether `E` takes in what each policy has to say, and gives it back.
    async fn carries_what_each_policy_says<E: CarriesRejected>() {
        for rejected in each_rejection().await {
            assert_eq!(E::from_rejected(rejected.clone()).as_rejected(), Some(&rejected));
        }
        let never = || pending::<Result<(), E>>();
        let breaker = CircuitBreaker::new("users");
        breaker.force_open();
        assert!(matches!(rejection(breaker.call(never)).await, Rejected::CircuitOpen(_)));
        assert!(matches!(rejection(Bulkhead::new("api", 0).call(never)).await, Rejected::BulkheadFull(_)));
        let limiter = RateLimiter::new("quota", 0, Duration::from_secs(1)).expect("good settings");
        assert!(matches!(rejection(limiter.call(never)).await, Rejected::RateLimited(_)));
        assert!(matches!(rejection(Timeout::new(Duration::ZERO).call(never)).await, Rejected::TimedOut(_)));
    }

    async fn rejection<E: CarriesRejected>(call: impl Future<Output = Result<(), E>>) -> Rejected {
        call.await.expect_err("it is rejected").as_rejected().expect("it carries the rejection").clone()
    }

    fn carries_nothing_else<E: CarriesRejected>(error: E) {
        assert_eq!(error.as_rejected(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_enum_of_ones_own_with_one_line() {
        carries_what_each_policy_says::<ApiError>().await;
        carries_nothing_else(ApiError::NoSuchUser);
    }

    #[tokio::test(start_paused = true)]
    async fn an_enum_of_ones_own_that_is_generic_or_has_no_other_variant() {
        #[derive(Debug)]
        enum Either<E> {
            Theirs(E),
            Policy(Rejected),
        }
        carries_rejected!(Either<String>, Policy);
        #[derive(Debug)]
        enum Only {
            Policy(Rejected),
        }
        carries_rejected!(Only, Policy);

        carries_what_each_policy_says::<Either<String>>().await;
        carries_nothing_else(Either::Theirs("bad".to_owned()));
        carries_what_each_policy_says::<Only>().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_box_of_any_error() {
        carries_what_each_policy_says::<BoxError>().await;
        carries_nothing_else(BoxError::from("bad"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_io_error() {
        carries_what_each_policy_says::<io::Error>().await;
        carries_nothing_else(io::Error::other("bad"));
        carries_nothing_else(io::Error::from(io::ErrorKind::TimedOut));
    }

    #[cfg(feature = "anyhow")]
    #[tokio::test(start_paused = true)]
    async fn an_anyhow_error() {
        carries_what_each_policy_says::<anyhow::Error>().await;
        carries_nothing_else(anyhow::anyhow!("bad"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_error_lifted() {
        carries_what_each_policy_says::<Error<fmt::Error>>().await;
        carries_nothing_else(Error::Inner(fmt::Error));
    }

    /// A carrier lets go of the rejection that it holds, to be changed in place.
    async fn lends<E: CarriesRejected>(other: E) {
        for rejected in each_rejection().await {
            let mut error = E::from_rejected(bulkhead_full());
            *error.as_rejected_mut().expect("it carries one") = rejected.clone();
            assert_eq!(error.as_rejected(), Some(&rejected));
        }
        let mut other = other;
        assert_eq!(other.as_rejected_mut(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_lends_its_rejection_to_be_changed() {
        lends(ApiError::NoSuchUser).await;
        lends(Error::Inner(fmt::Error)).await;
        lends(BoxError::from("bad")).await;
        lends(io::Error::other("bad")).await;
        lends(io::Error::from(io::ErrorKind::TimedOut)).await;
        #[cfg(feature = "anyhow")]
        lends(anyhow::anyhow!("bad")).await;
    }

    #[test]
    fn one_inside_of_another_lends_it_too() {
        let io = || io::Error::from_rejected(bulkhead_full());
        assert_eq!(BoxError::from(io()).as_rejected_mut(), Some(&mut bulkhead_full()));
        assert_eq!(io::Error::other(io()).as_rejected_mut(), Some(&mut bulkhead_full()));
        #[cfg(feature = "anyhow")]
        assert_eq!(anyhow::Error::from(io()).as_rejected_mut(), Some(&mut bulkhead_full()));
    }

    /// The default: of a carrier that has not said how.
    #[test]
    fn a_carrier_manually_need_not_lend_it() {
        struct Closed(Rejected);
        impl CarriesRejected for Closed {
            fn from_rejected(rejected: Rejected) -> Self {
                Self(rejected)
            }
            fn as_rejected(&self) -> Option<&Rejected> {
                Some(&self.0)
            }
        }
        assert_eq!(Closed::from_rejected(bulkhead_full()).as_rejected_mut(), None);
    }
}

mod a_rejection_is_found {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn on_its_own_and_anywhere_in_a_chain() {
        for rejected in each_rejection().await {
            assert_eq!(Rejected::find(&rejected), Some(&rejected));
            let chain = While(While(ApiError::Policy(rejected.clone())));
            assert_eq!(Rejected::find(&chain), Some(&rejected));
            let boxed: BoxError = Box::new(chain);
            assert_eq!(boxed.as_rejected(), Some(&rejected));
        }
        assert_eq!(Rejected::find(&While(ApiError::NoSuchUser)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_io_error_though_its_source_skips_it() {
        for rejected in each_rejection().await {
            let error = io::Error::from_rejected(rejected.clone());
            assert!(error.source().is_none(), "else there is nothing to prove");
            assert_eq!(Rejected::find(&error), Some(&rejected));
            assert_eq!(Rejected::find(&While(io::Error::other(While(error)))), Some(&rejected));
        }
    }

    #[test]
    fn not_behind_a_transparent_variant_which_the_documentation_warns_of() {
        #[derive(Debug, thiserror::Error)]
        enum Transparent {
            #[error(transparent)]
            Policy(Rejected),
        }
        assert_eq!(Rejected::find(&Transparent::Policy(bulkhead_full())), None);
    }

    #[cfg(feature = "anyhow")]
    #[tokio::test(start_paused = true)]
    async fn in_an_anyhow_error_under_its_context() {
        use anyhow::Context;

        for rejected in each_rejection().await {
            let error = anyhow::Error::from_rejected(rejected.clone()).context("fetching").context("answering");
            assert_eq!(error.as_rejected(), Some(&rejected));
            let error = Err::<(), _>(ApiError::Policy(rejected.clone())).context("fetching").unwrap_err();
            assert_eq!(error.as_rejected(), Some(&rejected));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_io_error_has_the_kind_timed_out_for_a_timeout_alone() {
    let kinds = each_rejection().await.map(|rejected| io::Error::from_rejected(rejected).kind());
    use io::ErrorKind::{Other, TimedOut};
    assert_eq!(kinds, [Other, Other, Other, TimedOut]);
}

mod error_of_e {
    use super::*;

    #[test]
    fn reads_like_the_error_it_holds_and_says_that_a_call_was_rejected() {
        assert_eq!(Error::Inner(ApiError::NoSuchUser).to_string(), "no such user");
        assert_eq!(Error::<ApiError>::Rejected(bulkhead_full()).to_string(), "call rejected");
    }

    #[test]
    fn has_the_sources_of_the_error_it_holds() {
        let error = Error::Inner(While(ApiError::NoSuchUser));
        assert!(matches!(error.source().unwrap().downcast_ref(), Some(ApiError::NoSuchUser)));
        assert!(Error::Inner(ApiError::NoSuchUser).source().is_none());
    }

    #[test]
    fn has_the_rejection_it_holds_as_its_source() {
        let error = Error::<ApiError>::Rejected(bulkhead_full());
        assert_eq!(error.source().unwrap().downcast_ref(), Some(&bulkhead_full()));
    }

    #[test]
    fn gives_the_foreign_error_back() {
        assert_eq!(Error::Inner("bad").into_inner(), Some("bad"));
        assert_eq!(Error::<&str>::Rejected(bulkhead_full()).into_inner(), None);
    }

    /// Not an `std::error::Error`, but it turns into a box of one: as `eyre::Report` does.
    #[derive(Debug)]
    struct Report(&'static str);

    impl From<Report> for BoxError {
        fn from(report: Report) -> Self {
            report.0.into()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn goes_by_a_question_mark_into_what_takes_any_error() {
        async fn into_anyhow(breaker: &CircuitBreaker) -> anyhow::Result<u32> {
            Ok(breaker.call(|| lift(ready(Err::<u32, _>(fmt::Error)))).await?)
        }
        async fn into_a_box(breaker: &CircuitBreaker) -> Result<u32, Box<dyn StdError>> {
            Ok(breaker.call(|| lift(ready(Err::<u32, _>(fmt::Error)))).await?)
        }
        let breaker = CircuitBreaker::new("users");
        assert_eq!(into_anyhow(&breaker).await.unwrap_err().to_string(), fmt::Error.to_string());
        assert_eq!(into_a_box(&breaker).await.unwrap_err().to_string(), fmt::Error.to_string());
        breaker.force_open();
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!(Rejected::find(into_anyhow(&breaker).await.unwrap_err().as_ref()), Some(&rejected));
        assert_eq!(Rejected::find(into_a_box(&breaker).await.unwrap_err().as_ref()), Some(&rejected));
    }

    #[tokio::test(start_paused = true)]
    async fn that_holds_no_std_error_goes_there_boxed() {
        async fn report() -> Result<u32, Report> {
            Err(Report("bad"))
        }
        async fn into_a_box(breaker: &CircuitBreaker) -> Result<u32, BoxError> {
            let answer = breaker.call(|| lift(report())).await.map_err(Error::into_boxed)?;
            Ok(answer)
        }
        let breaker = CircuitBreaker::new("users");
        assert_eq!(into_a_box(&breaker).await.unwrap_err().to_string(), "bad");
        breaker.force_open();
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!(Rejected::find(into_a_box(&breaker).await.unwrap_err().as_ref()), Some(&rejected));
    }

    /// `anyhow::Error` here as any such type, `eyre::Report` among them: without the feature `anyhow` it carries
    /// nothing itself.
    #[tokio::test(start_paused = true)]
    async fn of_a_type_that_takes_any_error_becomes_that_type_again() {
        async fn fetch() -> anyhow::Result<u32> {
            Err(anyhow::anyhow!("bad").context("fetching"))
        }
        async fn guarded(breaker: &CircuitBreaker) -> anyhow::Result<u32> {
            let answer = breaker.call(|| lift(fetch())).await.map_err(Error::flatten)?;
            Ok(answer)
        }
        let breaker = CircuitBreaker::new("users");
        assert_eq!(format!("{:#}", guarded(&breaker).await.unwrap_err()), "fetching: bad");
        breaker.force_open();
        let rejected = breaker.try_acquire().unwrap_err();
        let error = guarded(&breaker).await.unwrap_err();
        assert_eq!(Rejected::find(error.as_ref()), Some(&rejected));
        assert_eq!(format!("{error:#}"), rejected.to_string(), "once");
    }
}

/// What prints a whole chain says once which policy it was.
mod a_report_of_the_chain {
    use super::*;

    fn says_once(error: impl Into<anyhow::Error>, rejected: &Rejected) {
        let report = format!("{:#}", error.into().context("while fetching the user"));
        assert_eq!(report.matches(&rejected.to_string()).count(), 1, "{report}");
        assert!(report.starts_with("while fetching the user: "), "{report}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_any_carrier_says_the_rejection_once() {
        for rejected in each_rejection().await {
            says_once(ApiError::Policy(rejected.clone()), &rejected);
            says_once(Error::<fmt::Error>::Rejected(rejected.clone()), &rejected);
            says_once(io::Error::from_rejected(rejected.clone()), &rejected);
            says_once(anyhow::anyhow!(BoxError::from_rejected(rejected.clone())), &rejected);
            says_once(rejected.clone(), &rejected);
        }
    }

    #[cfg(feature = "anyhow")]
    #[tokio::test(start_paused = true)]
    async fn of_an_anyhow_error_says_the_rejection_once() {
        for rejected in each_rejection().await {
            says_once(anyhow::Error::from_rejected(rejected.clone()), &rejected);
        }
    }

    #[test]
    fn reads_as_a_sentence() {
        let error = anyhow::Error::from(ApiError::Policy(bulkhead_full()));
        assert_eq!(format!("{error:#}"), "call rejected: bulkhead `api` is full (0 at once)");
        let error = anyhow::Error::from(Error::<fmt::Error>::Rejected(bulkhead_full()));
        assert_eq!(format!("{error:#}"), "call rejected: bulkhead `api` is full (0 at once)");
    }
}

mod a_leaf {
    use withstand::{BulkheadFull, CircuitOpen, Elapsed, RateLimited};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn can_be_made_for_a_test_and_equals_the_policys_own() {
        let made: [Rejected; 4] = [
            CircuitOpen::new("users", Some(Duration::from_secs(10))).into(),
            BulkheadFull::new("api", 0, None).into(),
            RateLimited::new("quota", 0, None).into(),
            Elapsed::new(Some("per attempt".into()), Duration::from_millis(20)).into(),
        ];
        assert_eq!(made, each_rejection().await);
    }

    #[test]
    fn that_was_made_tells_what_was_put_into_it() {
        let open = CircuitOpen::new(String::from("users"), None);
        assert_eq!((open.name(), open.retry_after()), ("users", None));
        let full = BulkheadFull::new("api", 7, Some(Duration::from_secs(1)));
        assert_eq!((full.name(), full.max_concurrent(), full.waited()), ("api", 7, Some(Duration::from_secs(1))));
        let limited = RateLimited::new("api", 7, Some(Duration::from_secs(1)));
        assert_eq!((limited.name(), limited.limit(), limited.retry_after()), ("api", 7, Some(Duration::from_secs(1))));
        assert!(RateLimited::new("api", 7, Some(Duration::MAX)).retry_after() > Some(Duration::from_secs(1 << 34)));
        let elapsed = Elapsed::new(None, Duration::from_secs(2));
        assert_eq!((elapsed.name(), elapsed.limit()), (None, Duration::from_secs(2)));
    }

    /// A span of zero is not the same as none, and an empty name is a name.
    #[test]
    fn tells_the_smallest_and_the_greatest() {
        let spans = [Duration::ZERO, Duration::from_nanos(1), Duration::from_nanos(u64::MAX - 1)];
        for span in spans {
            assert_eq!(CircuitOpen::new("users", Some(span)).retry_after(), Some(span));
            assert_eq!(BulkheadFull::new("users", 1, Some(span)).waited(), Some(span));
            assert_eq!(Elapsed::new(None, span).limit(), span);
        }
        let years_584 = Duration::from_nanos(u64::MAX - 1);
        for longer in [Duration::from_nanos(u64::MAX), Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(CircuitOpen::new("users", Some(longer)).retry_after(), Some(years_584));
            assert_eq!(BulkheadFull::new("users", 1, Some(longer)).waited(), Some(years_584));
            assert_eq!(Elapsed::new(None, longer).limit(), years_584);
        }
        assert_eq!(BulkheadFull::new("users", usize::MAX, None).max_concurrent(), u32::MAX as usize);
        let named = |name: &'static str| Elapsed::new(Some(name.into()), Duration::ZERO);
        let nameless = Elapsed::new(None, Duration::ZERO);
        assert_eq!((named("").name(), nameless.name()), (Some(""), None));
        assert_ne!(named(""), nameless);
        assert_eq!([named("").to_string(), nameless.to_string()], ["`` took longer than 0ns", "took longer than 0ns"]);
    }

    #[test]
    fn says_that_no_attempt_was_sent_but_for_a_timeout() {
        let none = [
            Rejected::from(CircuitOpen::new("users", None)),
            BulkheadFull::new("api", 7, None).into(),
            RateLimited::new("api", 7, None).into(),
        ];
        for rejected in none {
            assert_eq!((rejected.attempts_sent(), rejected.was_started()), (0, false));
        }
        let timed_out = Rejected::from(Elapsed::new(None, Duration::ZERO));
        assert_eq!((timed_out.attempts_sent(), timed_out.was_started()), (1, true));
    }

    /// As gRPC's own clients say it: the dependency is unavailable, we have no room, the time is over.
    #[tokio::test(start_paused = true)]
    async fn has_a_grpc_code() {
        let codes = each_rejection().await.map(|rejected| tonic::Code::from(rejected.grpc_code()));
        use tonic::Code::{DeadlineExceeded, ResourceExhausted, Unavailable};
        assert_eq!(codes, [Unavailable, ResourceExhausted, ResourceExhausted, DeadlineExceeded]);
    }
}

mod lifting {
    use super::*;

    #[tokio::test]
    async fn leaves_answers_alone_and_makes_room_beside_the_error() {
        assert_eq!(lift(ready(Ok::<_, &str>(1))).await, Ok(1));
        assert_eq!(lift(ready(Err::<u32, _>("bad"))).await, Err(Error::Inner("bad")));
    }

    async fn down() -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    #[tokio::test(start_paused = true)]
    async fn once_lets_a_retry_see_the_rejection() {
        let (retry, breaker) = (RetryWithBackoff::new("users"), CircuitBreaker::new("users"));
        breaker.force_open();
        let answer = retry.call(|| breaker.call(|| lift(down()))).await;
        assert!(matches!(answer, Err(Error::Rejected(Rejected::CircuitOpen(_)))));
        assert_eq!(breaker.snapshot().rejected, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn twice_hides_the_rejection_from_a_retry_which_the_documentation_warns_of() {
        let (retry, breaker) = (RetryWithBackoff::new("users"), CircuitBreaker::new("users"));
        breaker.force_open();
        let error = retry.call(|| lift(breaker.call(|| lift(down())))).await.unwrap_err();
        assert_eq!(breaker.snapshot().rejected, 3, "the retry took the rejection for a failure");
        assert_eq!(error.as_rejected(), None);
        assert!(Rejected::find(&error).is_some(), "a search still finds it");
    }
}

mod names {
    use allocation_counter::measure;

    use super::*;

    fn allocations<R>(act: impl FnOnce() -> R) -> u64 {
        measure(|| drop(act())).count_total
    }

    #[test]
    fn a_literal_costs_no_allocation_to_take_or_to_clone() {
        let name = Name::from("users");
        assert_eq!(allocations(|| Name::from("users")), 0);
        assert_eq!(allocations(|| [name.clone(), name.clone()]), 0);
    }

    #[test]
    fn one_made_at_run_time_is_shared_by_its_clones() {
        let name = Name::from(format!("users-{}", 7));
        assert_eq!(allocations(|| name.clone()), 0);
        assert_eq!(name.clone().as_str().as_ptr(), name.as_str().as_ptr());
    }

    /// A rejection carries one across an unwind.
    #[test]
    fn are_safe_to_unwind_past_and_to_send() {
        use std::panic::{RefUnwindSafe, UnwindSafe};
        static_assertions::assert_impl_all!(Name: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe);
        static_assertions::assert_impl_all!(Rejected: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe);
    }

    #[test]
    fn a_rejection_allocates_nothing_and_neither_does_its_clone() {
        let breaker = CircuitBreaker::new("users");
        breaker.force_open();
        let bulkhead = Bulkhead::new("api", 0);
        assert_eq!(allocations(|| breaker.try_acquire()), 0);
        assert_eq!(allocations(|| bulkhead.try_acquire()), 0);
        let limiter = RateLimiter::new("api", 0, Duration::from_secs(1)).unwrap();
        assert_eq!(allocations(|| limiter.try_acquire()), 0);
        let rejected = circuit_open();
        assert_eq!(allocations(|| rejected.clone()), 0);
    }

    #[test]
    fn are_found_in_a_map_by_their_text() {
        let known: HashMap<Name, u32> = [(Name::from("users"), 1), (Name::copied("api"), 2)].into();
        assert_eq!((known.get("users"), known.get("api"), known.get("other")), (Some(&1), Some(&2), None));
        assert_eq!(known.get(&Name::from("users".to_owned())), Some(&1), "whatever it was made of");
        let sorted: BTreeMap<Name, u32> = [(Name::from("b"), 2), (Name::copied("a"), 1), (Name::from("c"), 3)].into();
        assert_eq!((sorted.get("b"), sorted.values().collect::<Vec<_>>()), (Some(&2), vec![&1, &2, &3]));
    }

    #[test]
    fn are_ordered_as_their_texts() {
        assert!(Name::from("a") < Name::copied("b") && Name::copied("b") > Name::from("a"));
        assert_eq!(Name::from("a").cmp(&Name::copied("a")), std::cmp::Ordering::Equal);
        assert_eq!(AsRef::<str>::as_ref(&Name::from("a")), "a");
    }

    #[test]
    fn are_copied_from_borrowed_text() {
        let host = String::from("api.example.com");
        let breaker = CircuitBreaker::new(Name::copied(&host));
        drop(host);
        assert_eq!(breaker.name(), "api.example.com");
    }

    #[test]
    fn are_equal_if_they_read_the_same() {
        assert_eq!(Name::from("users"), Name::from("users".to_owned()));
        assert_ne!(Name::from("users"), Name::from("api"));
        assert_eq!(format!("{0} {0:?}", Name::from("users")), r#"users "users""#);
    }
}

#[cfg(feature = "tower")]
mod in_tower {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::{Context, Poll},
    };

    use tower::{
        Layer, Service, ServiceBuilder, ServiceExt,
        buffer::{Buffer, error::ServiceError},
        service_fn,
    };
    use withstand::LiftLayer;

    use super::*;

    /// Fails each time it is asked whether it is ready.
    #[derive(Clone)]
    struct NeverReady<E>(fn() -> E);

    impl<E> Service<u32> for NeverReady<E> {
        type Response = u32;
        type Error = E;
        type Future = std::future::Pending<Result<u32, E>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
            Poll::Ready(Err((self.0)()))
        }

        fn call(&mut self, _: u32) -> Self::Future {
            unreachable!("it is never ready")
        }
    }

    /// Fails every call, and counts them.
    fn down() -> (impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone, Arc<AtomicUsize>) {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = starts.clone();
        let service = service_fn(move |_| {
            counted.fetch_add(1, SeqCst);
            ready(Err(BoxError::from("down")))
        });
        (service, starts)
    }

    #[tokio::test]
    async fn lift_layer_lifts_what_a_call_and_what_readiness_says() {
        let echo = LiftLayer.layer(service_fn(|n: u32| ready(if n > 0 { Ok(n) } else { Err("zero") })));
        assert_eq!(echo.oneshot(7).await, Ok(7));
        assert_eq!(echo.oneshot(0).await, Err(Error::Inner("zero")));
        let unready = LiftLayer.layer(NeverReady(|| "unready"));
        assert_eq!(unready.oneshot(7).await, Err(Error::Inner("unready")));
    }

    #[tokio::test]
    async fn a_rejection_is_found_behind_buffer() {
        let (service, starts) = down();
        let service = Buffer::new(ServiceBuilder::new().layer(Bulkhead::new("api", 0).layer()).service(service), 4);
        let error = service.oneshot(1).await.unwrap_err();
        assert_eq!(error.as_rejected(), Some(&bulkhead_full()));
        assert_eq!(starts.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn a_lifted_rejection_is_found_behind_buffer() {
        let service = service_fn(|n: u32| ready(Ok::<_, fmt::Error>(n)));
        let service = ServiceBuilder::new().layer(Bulkhead::new("api", 0).layer()).layer(LiftLayer).service(service);
        let error = Buffer::new(service, 4).oneshot(1).await.unwrap_err();
        assert_eq!(error.as_rejected(), Some(&bulkhead_full()));
    }

    #[tokio::test]
    async fn a_rejection_is_found_inside_the_error_that_buffer_wraps_it_in() {
        let service = Buffer::new(NeverReady(|| BoxError::from_rejected(bulkhead_full())), 4);
        let error = service.oneshot(1).await.unwrap_err();
        assert!(error.is::<ServiceError>(), "else there is nothing to prove: {error:?}");
        assert_eq!(error.as_rejected(), Some(&bulkhead_full()));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_sees_an_open_circuit_through_buffer_and_does_not_hammer_it() {
        let (service, starts) = down();
        let breaker = CircuitBreaker::new("users");
        let guarded = ServiceBuilder::new().layer(breaker.layer()).service(service);
        let service =
            ServiceBuilder::new().layer(RetryWithBackoff::new("users").layer()).service(Buffer::new(guarded, 4));

        assert!(service.clone().oneshot(1).await.unwrap_err().as_rejected().is_none());
        assert_eq!(starts.load(SeqCst), 3, "what failed is sent again through the buffer");

        breaker.force_open();
        let error = service.oneshot(1).await.unwrap_err();
        assert!(matches!(error.as_rejected(), Some(Rejected::CircuitOpen(_))));
        assert_eq!(breaker.snapshot().rejected, 1, "one call, one rejection");
        assert_eq!(starts.load(SeqCst), 3, "and the dependency was spared");
    }
}
