//! Permits without a closure, around streams: `cargo run --example permits`.

use std::{io, pin::pin, time::Duration};

use futures::{Stream, StreamExt, stream};
use withstand::{Bulkhead, CarriesRejected, CircuitBreaker, Rejected};

struct Prices {
    slots: Bulkhead,
    breaker: CircuitBreaker,
}

impl Prices {
    /// Reads a feed to its end. It has a slot for as long as it is read, and counts as one call of the circuit.
    async fn follow(&self, feed: impl Stream<Item = io::Result<f64>>) -> io::Result<f64> {
        let _slot = self.slots.acquire().await.map_err(io::Error::from_rejected)?;
        let call = self.breaker.try_acquire().map_err(io::Error::from_rejected)?;
        let (mut feed, mut last) = (pin!(feed), 0.0);
        while let Some(price) = feed.next().await {
            match price {
                Ok(price) => last = price,
                Err(error) => {
                    call.failure();
                    return Err(error);
                }
            }
        }
        call.success();
        Ok(last)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prices = Prices {
        slots: Bulkhead::new("prices", 1),
        breaker: CircuitBreaker::builder("prices").consecutive_failures(2, Duration::ZERO).build()?,
    };
    let whole = || stream::iter([Ok(1.0), Ok(1.5)]);
    let broken = || stream::iter([Ok(1.0), Err(io::Error::from(io::ErrorKind::ConnectionReset))]);

    let mut rejected = None;
    for feed in [whole().left_stream(), broken().right_stream(), broken().right_stream(), whole().left_stream()] {
        match prices.follow(feed).await {
            Ok(last) => println!("followed to its end: {last}"),
            Err(error) => {
                println!("{error}; the circuit is {}", prices.breaker.state());
                rejected = error.as_rejected().cloned();
            }
        }
    }
    assert!(matches!(rejected, Some(Rejected::CircuitOpen(_))), "the last feed was not even opened");
    assert_eq!(prices.slots.snapshot().in_flight, 0, "every slot came back");
    Ok(())
}
